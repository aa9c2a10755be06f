"""What the dashboard shows of models and prices, said once when it starts.

The dashboard knows the ledger alone; windows, effective context and prices are the gateway's
to say. Public names only: no key, no address of an upstream.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from ruamel.yaml import YAML

from billing.errors import PriceMissing
from billing.money import rate_text
from billing.price_check import Finding, Used, contract_steps, drift, flat_rates, upcoming
from billing.prices import ACCOUNT, PriceBook
from gateway.prices_command import models_of, second_opinion
from gateway.settings import Settings
from gateway.snapshot import Snapshot, build_snapshot
from router.effective import LENGTHS


def facts(settings: Settings, at: datetime, config: Path | None = None) -> str:
    """Models, prices and what wants a look, as JSON: ``models``, ``findings``, ``hashes``.

    Args:
        config: where the settings were read, so that the curves of its card files are said, too.
    """
    curves = {} if config is None else curves_of(config)
    snapshot, used = build_snapshot(settings), models_of(settings)
    said = {
        "made": at.isoformat(timespec="seconds"),
        "models": [
            {**_model(snapshot, one, at), "curves": curves.get(one.name, {})} for one in used
        ],
        "findings": [
            {"kind": one.kind, "subject": one.subject, "text": one.text, "look": one.look}
            for one in _findings(snapshot.prices, used, at)
        ],
        "hashes": {
            "policy": settings.hash,
            "prices": snapshot.prices.hash,
            "catalog": snapshot.catalog_hash,
        },
    }
    return orjson.dumps(said).decode()


def curves_of(config: Path) -> dict[str, dict[str, Any]]:
    """By model and kind of reading, the points of each card file that a configuration names."""
    yaml, found = YAML(typ="safe", pure=True), {}
    models = (yaml.load(config.read_text(encoding="utf-8")) or {}).get("models") or {}
    for name, entry in models.items():
        named = entry.get("effective_context") if isinstance(entry, dict) else None
        if not isinstance(named, str):
            continue
        card = yaml.load((config.parent / named).read_text(encoding="utf-8"))
        lengths = card.get("effective", {}) if isinstance(card, dict) else {}
        points = {
            kind: said["points"]
            for kind, said in lengths.items()
            if isinstance(said, dict) and said.get("points")
        }
        if points:
            found[name] = points
    return found


def _model(snapshot: Snapshot, one: Used, at: datetime) -> dict[str, Any]:
    card, entry = snapshot.cards[one.name], snapshot.settings.models[one.name]
    try:
        price = snapshot.prices.price(one.provider, one.model, at, context={ACCOUNT: one.account})
        rates = {name: rate_text(rate) for name, rate in flat_rates(price).items()}
    except PriceMissing:
        rates = {}
    return {
        "model": one.name,
        "tier": entry.tier.value,
        "upstream": one.account,
        "served_as": one.model,
        "window": card.window if card.window_known else None,
        **{kind: getattr(card, kind) for kind in LENGTHS},
        "measured": {
            kind: {"source": m.source, "date": m.date, "confidence": m.confidence}
            for kind, m in card.measured.items()
        },
        "rates": rates,
        "free": entry.free,
    }


def _findings(book: PriceBook, used: list[Used], at: datetime) -> list[Finding]:
    found: list[Finding] = []
    theirs = second_opinion()
    if theirs is not None:
        found += drift(PriceBook.bundled(), used, theirs, at)
    found += upcoming(book, used, at)
    found += contract_steps(book, used, at)
    return sorted(found, key=lambda one: (not one.look, one.kind, one.subject))
