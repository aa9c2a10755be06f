"""A month on one page for somebody who signs the bill: HTML, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from billing.chargeback import Charged
from billing.closing import Closing, month_of
from billing.reports import Row, Scope
from billing.savings_report import Report, Step, in_words
from dashboard import words
from dashboard.charts import STEPS
from dashboard.data import Source
from dashboard.format import SHOWN, count, money, percent
from dashboard.theme import COSTS, PAID, SAVES, TOKENMAXXED

_MOST_ROWS = 30


@dataclass(frozen=True, slots=True)
class Listed:
    """One table of the page, cells as text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] = ()


def written(source: Source, month: str) -> str:
    """The page of a month, ``2026-10``, in USD. Raises CannotClose where it is no month."""
    before = SHOWN.set(None)
    try:
        return _written(source, month)
    finally:
        SHOWN.reset(before)


def _written(source: Source, month: str) -> str:
    start, end = month_of(month)
    scope = Scope(start, end)
    whole, found = source.overall(scope), source.savings(scope)
    charged, closing = source.charged(month, "team"), source.closing_of(month)
    values = {
        "month": month,
        "colours": {"paid": PAID, "tokenmaxxed": TOKENMAXXED},
        "state": _state(closing),
        "sentence": words.comparison(whole, f"in {month}"),
        "tokenmaxxed": money(words.known_baseline(whole)),
        "paid": money(whole.cost_nano),
        "saved": percent(whole.saved_nano, whole.baseline_nano),
        "charge": money(sum(row.total_nano for row in charged)),
        "badge": found.savings.badge.value,
        "trust": in_words(found),
        "steps": _steps(found),
        "tables": [_teams(charged), _groups(source.grouped("model", scope), "By model served"),
                   _groups(source.grouped("action", scope), "By action")],
        "notes": _notes(whole, found),
        "origin": _origin(source, closing),
    }  # fmt: skip
    page = files("dashboard").joinpath("templates/month.html").read_text(encoding="utf-8")
    made = Environment(autoescape=True, undefined=StrictUndefined).from_string(page)
    return made.render(values)


def _state(closing: Closing | None) -> str:
    return "open: what settles late still lands in it" if closing is None else "closed"


def _teams(rows: Sequence[Charged]) -> Listed:
    shown = [
        (row.name or "(none)", count(row.requests), money(row.cost_nano),
         money(row.corrected_nano), money(row.total_nano))
        for row in rows
    ]  # fmt: skip
    sums = (
        "All", count(sum(row.requests for row in rows)),
        money(sum(row.cost_nano for row in rows)),
        money(sum(row.corrected_nano for row in rows)),
        money(sum(row.total_nano for row in rows)),
    )  # fmt: skip
    columns = ("Team", "Requests", "Receipts", "Corrections", "To charge")
    return Listed("By team", columns, shown, sums)


def _groups(rows: Sequence[Row], title: str) -> Listed:
    shown = [
        (
            row.label or "(none)",
            count(row.requests),
            money(row.cost_nano),
            money(words.known_baseline(row)),
            money(words.known_saved(row)),
        )
        for row in rows[:_MOST_ROWS]
    ]
    return Listed(title, ("", "Requests", "Paid", "Tokenmaxxed", "Saved"), shown)


def _steps(found: Report) -> list[dict[str, Any]]:
    """The waterfall as bars, in percent of the widest level."""
    steps = found.waterfall()
    if not found.causes.tokenmaxxed_nano:
        return []
    levels, level = [], 0
    for step in steps:
        start = 0 if step.name in ("tokenmaxxed", "paid") else level
        level = start + step.amount_nano
        levels.append((start, level))
    most = max(abs(edge) for pair in levels for edge in pair) or 1
    return [
        {
            "name": STEPS.get(step.name, step.name),
            "amount": money(step.amount_nano),
            "left": f"{max(min(pair), 0) * 100 / most:.2f}",
            "width": f"{abs(pair[1] - pair[0]) * 100 / most:.2f}",
            "colour": _colour(step),
        }
        for step, pair in zip(steps, levels, strict=True)
    ]


def _colour(step: Step) -> str:
    whole = {"tokenmaxxed": TOKENMAXXED, "paid": PAID}
    return whole.get(step.name) or (SAVES if step.amount_nano <= 0 else COSTS)


def _notes(whole: Row, found: Report) -> list[str]:
    notes = []
    left_out = words.left_out(whole)
    if left_out:
        notes.append(left_out)
    if whole.estimated:
        notes.append(
            f"{count(whole.estimated, 'receipt')} of {whole.requests:,} rest on estimated token "
            f"counts, since the provider reported none."
        )
    if found.savings.badge.value == "estimated":
        notes.append("Savings are computed, not measured: too few sessions were held out.")
    return notes


def _origin(source: Source, closing: Closing | None) -> str:
    said = f"Made by Tokenweir from a ledger of {source.mark:,} receipts."
    if closing is None:
        return said
    return f"{said} Frozen with {closing.month}, digest {closing.digest.hex()}."
