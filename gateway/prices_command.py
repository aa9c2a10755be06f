"""`weir prices check` and `weir prices diff`: gathers the facts, `billing.price_check` judges."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from billing.bundled import bundled_text
from billing.contracts import parse_regions
from billing.errors import LedgerMissing, LedgerUnavailable, PriceMissing
from billing.money import rate_text
from billing.price_check import (
    Change,
    Finding,
    Used,
    contract_steps,
    coverage,
    differences,
    drift,
    every_price,
    upcoming,
)
from billing.price_layers import Base, parse_patches
from billing.prices import PriceBook
from billing.reader import LINES, RECEIPTS, epoch_ms, reading
from billing.receipt import HELD
from gateway.settings import Settings
from gateway.snapshot import book_of

LEDGER_DAYS = 90
"""How far back the ledger is asked what is in use."""
_MAP = "model_prices_and_context_window_backup.json"
_WITHOUT_PROVIDER = ("orphan", "provisional")


def second_opinion() -> Mapping[str, Any] | None:
    """litellm's packaged price map, read as a file; None where it is not installed."""
    spec = importlib.util.find_spec("litellm")  # finds the folder, runs nothing of it
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / _MAP
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            found: dict[str, Any] = json.loads(text, parse_float=Decimal)
            return found
    return None


def models_of(settings: Settings) -> list[Used]:
    """Every declared model with the account and the name it is served under."""
    return [
        Used(name, m.upstream, settings.upstreams[m.upstream].provider, m.model or name)
        for name, m in settings.models.items()
    ]


def check(settings: Settings, at: datetime) -> list[Finding]:
    """Everything that `weir prices check` has to say, what wants a look first.

    Raises:
        LedgerUnavailable: the ledger is there and cannot be read.
    """
    book, used = book_of(settings), models_of(settings)
    declared = [one for one in used if not _free(book, one, at)]
    findings: list[Finding] = []
    theirs = second_opinion()
    if theirs is None:
        text = "litellm is not installed: list prices have no second opinion"
        findings.append(Finding("one-source", "all", text, look=False))
    else:
        findings += drift(PriceBook.bundled(), declared, theirs, at)
    try:
        seen, booked = _ledger(settings, at)
    except LedgerMissing:  # prices are checked before the first request, too
        seen, booked = [], {}
    gone = [(model, upstream) for model, upstream in seen if model not in settings.models]
    findings += coverage(book, used, gone, booked, at)
    findings += upcoming(book, declared, at)
    findings += contract_steps(book, used, at)
    return sorted(findings, key=lambda f: (not f.look, f.kind, f.subject))


def _free(book: PriceBook, one: Used, at: datetime) -> bool:
    try:
        return book.price(one.provider, one.model, at, context={"account": one.account}).free
    except PriceMissing:
        return False


def _ledger(settings: Settings, at: datetime) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Models of the last months' receipts, and requests that were booked without a price."""
    since = epoch_ms(at - timedelta(days=LEDGER_DAYS))
    receipts, lines = RECEIPTS.c, LINES.c
    models = (
        sa.select(receipts.served_model, receipts.upstream)
        .where(receipts.posted_ms >= since)
        .distinct()
    )
    unknown = (
        sa.select(lines.rule, sa.func.count(sa.distinct(lines.request_id)))
        .where(lines.posted_ms >= since)
        .where(
            sa.or_(
                lines.rule.like("unpriced:%"),
                sa.and_(lines.component == HELD, lines.rule.notin_(_WITHOUT_PROVIDER)),
            )
        )
        .group_by(lines.rule)
    )
    with reading(settings.database) as connection:
        seen = [(str(row[0]), str(row[1])) for row in connection.execute(models)]
        booked = {str(row[0]).split("#")[0]: int(row[1]) for row in connection.execute(unknown)}
    return sorted(seen), booked


def diff(settings: Settings | None, before: str, after: str) -> list[Change]:
    """What differs between two dates of the book, or two snapshot files.

    With a configuration, dates compare what its models cost there; without, every model of
    the book.

    Raises:
        ValueError: neither an ISO date nor a snapshot file.
    """
    sides = [_side(settings, text) for text in (before, after)]
    return differences(sides[0], sides[1])


def _side(settings: Settings | None, text: str) -> dict[str, Any]:
    path = Path(text)
    if path.is_file():
        book, base = _snapshot(path)
        noon = datetime(9999, 1, 1, tzinfo=UTC)
        return every_price(book, list(_all(base)), noon)
    try:
        at = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        raise ValueError(f"{text!r} is neither a date such as 2026-12-01 nor a file") from None
    if settings is None:
        base = Base(bundled_text("prices.jsonl"))
        return every_price(PriceBook.bundled(), list(_all(base)), at)
    book, found = book_of(settings), {}
    for one in models_of(settings):
        try:
            context = {"account": one.account}
            found[one.name] = book.price(one.provider, one.model, at, context=context)
        except PriceMissing:
            continue
    return found


def _snapshot(path: Path) -> tuple[PriceBook, Base]:
    try:
        base = Base(path.read_bytes())
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no price snapshot: {error}") from None
    patches = parse_patches(bundled_text("patches.yaml").decode())
    regions = parse_regions(bundled_text("regions.yaml").decode())
    return PriceBook(base, patches, None, regions), base


def _all(base: Base) -> Iterator[tuple[str, str]]:
    for provider in base.providers():
        for model in base.models(provider):
            yield provider, model


def change_row(change: Change) -> dict[str, str | None]:
    """One difference as text."""
    return {
        "model": change.model,
        "component": change.component,
        "before": None if change.before is None else rate_text(change.before),
        "after": None if change.after is None else rate_text(change.after),
        "percent": None if change.percent is None else str(change.percent),
    }


__all__ = ["LedgerUnavailable", "change_row", "check", "diff", "models_of", "second_opinion"]
