"""The report of an audit at its edges: nothing, much, losses, many models, many days."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from billing.money import nano
from gateway.audit_report import About, dollars, html
from gateway.audit_rows import COLUMNS, header
from gateway.audit_run import Read
from gateway.audit_sums import Sums, sums
from gateway.audit_svg import Pair, bars, columns
from gateway.audit_words import reason, refusal

ABOUT = About(
    logs=("a<b>.jsonl",), policy="weir.yaml", policy_hash="sha256:1", prices_hash="sha256:2",
    made="2026-11-22 12:00 UTC", assumed=False, fits=True, observed=False,
)  # fmt: skip


def row(**said: object) -> str:
    plain: dict[str, object] = {
        "log": "a.jsonl", "line": 1, "at": "2026-10-01T00:00:00.000Z", "requested_model": "big",
        "basis": "body", "estimated": "false", "prompt_tokens": 100, "completion_tokens": 10,
        "cached_tokens": 0, "as_was_usd": "2", "action": "pass", "model": "big",
        "sent_tokens": 100, "policy_usd": "2", "saved_usd": "0", "reason": "nothing_to_gain",
    }  # fmt: skip
    values = {**plain, **said}
    return ",".join(str(values.get(name, "")) for name in COLUMNS) + "\r\n"


def of(folder: Path, *rows: str) -> Sums:
    path = folder / "rows.csv"
    path.write_text(header() + "".join(rows), encoding="utf-8")
    return sums(path, folder)


def page(found: Sums, read: Read | None = None) -> str:
    return html(found, read or Read(), ABOUT)


def test_an_empty_audit_is_a_page(tmp_path: Path) -> None:
    """No rows at all give zeros and a sentence, not an error."""
    found = of(tmp_path)
    assert (found.total.requests, found.total.as_was_nano) == (0, 0)
    text = page(found)
    assert "No request could be compared" in text
    assert "a&lt;b&gt;.jsonl" in text
    assert "a<b>" not in text


def test_money_is_exact_to_the_nano(tmp_path: Path) -> None:
    """A sum of the smallest amounts is their sum, whatever a float would make of it."""
    rows = [row(as_was_usd="0.000000001", policy_usd="0", saved_usd="0.000000001")] * 3
    found = of(tmp_path, *rows, row(as_was_usd="123456789.123456789", policy_usd="0.1"))
    assert found.total.as_was_nano == nano("123456789.123456792")


def test_refused_and_unpriced_rows_are_in_no_comparison(tmp_path: Path) -> None:
    """Only requests that are priced on both sides and would be served are compared."""
    found = of(
        tmp_path,
        row(),
        row(refused="model_not_declared", action="refused", policy_usd="", saved_usd=""),
        row(as_was_usd="", policy_usd="", saved_usd="", unpriced="acme", prompt_tokens=7),
    )
    assert (found.total.requests, found.total.compared) == (3, 1)
    assert found.total.as_was_nano == nano(2)
    assert [(c.name, c.requests, c.as_was_nano) for c in found.refused] == [
        ("model_not_declared", 1, nano(2))
    ]
    assert [(c.name, c.as_was_nano, c.prompt_tokens) for c in found.unpriced] == [("acme", None, 7)]
    text = page(found)
    assert "An unknown price is never taken as zero" in text
    assert "add it under `models:`" in text


def test_a_loss_is_shown_as_one(tmp_path: Path) -> None:
    """Where the policy costs more, the report says more, never zero."""
    found = of(tmp_path, row(action="route", policy_usd="3", saved_usd="-1"))
    text = page(found)
    assert "Where it would have cost more" in text
    assert "50.0% more" in text
    assert '<b class="bad">$1.00</b>' in text
    assert "Where most would be saved" not in text


def test_many_models_and_days_stay_readable(tmp_path: Path) -> None:
    """More than ten models end in one bar for the rest, more than two months in months."""
    rows = [
        row(requested_model=f"model-{n}", at=f"2026-{n % 5 + 1:02}-{n % 28 + 1:02}T00:00:00.000Z",
            as_was_usd=str(n + 1), policy_usd="1", saved_usd=str(n))
        for n in range(130)
    ]  # fmt: skip
    text = page(of(tmp_path, *rows))
    assert "120 more" in text
    assert "By month, UTC" in text
    charts = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert [chart.count("<rect") for chart in charts] == [22, 10]
    assert len(text) < 40_000


def test_days_without_requests_keep_their_place(tmp_path: Path) -> None:
    """A week's gap is a week wide on the chart, not two columns side by side."""
    days = [row(at=f"2026-10-{day:02}T10:00:00.000Z") for day in (1, 9)]
    charts = re.findall(r"<svg.*?</svg>", page(of(tmp_path, *days)), re.DOTALL)
    assert charts[1].count("<rect") == 9 * 2
    assert "10-05: $" not in charts[1]
    assert "10-05: 0 USD" in charts[1]


def test_bounds_and_interrupts_are_said(tmp_path: Path) -> None:
    """What is only a bound, only a part, or unreadable stands in the report as such."""
    found = of(tmp_path, row(basis="counts", bound_usd="0.5"))
    read = Read(rows=1, bad_count=70, bad=[("a.jsonl", 3, "not a JSON object")] * 70, partial=True)
    text = page(found, read)
    assert "it would be $1.50" in text
    assert "interrupted" in text
    assert "70 lines could not be read" in text
    assert "and 50 more" in text


def test_charts_are_sound_svg_at_any_size() -> None:
    """Zero, negative and huge figures and odd names give well-formed charts."""
    odd = [
        Pair("<script>&\"'", 0, 0, ("0", "0")),
        Pair("a" * 90, 10**18, -5, ("1,000,000,000.00", "-0.0000")),
    ]
    for chart in (
        bars(odd, "x & y"),
        columns(odd * 40, "x", "1"),
        bars([], "x"),
        columns([], "x", "0"),
    ):
        root = ET.fromstring(chart)  # noqa: S314 - our own output
        widths = [float(rect.get("width", "0")) for rect in root.findall(".//{*}rect")]
        assert all(0 <= width <= 720 for width in widths)
        assert "<script>" not in chart


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("0.00004", "$0.0000"),
        ("-1.5", "-$1.50"),
        ("1234567.891", "$1,234,567.89"),
    ],
)
def test_dollars(amount: str, text: str) -> None:
    """Cents for real money, four places below a dollar, the sign first."""
    assert dollars(nano(amount)) == text


def test_unknown_codes_are_still_words() -> None:
    """A code without a sentence is shown in words, and one with evidence by its kind."""
    assert reason("brand_new_code") == "brand new code"
    assert reason("weak_evidence:other").startswith("no evidence")
    assert refusal("odd_one") == "odd one"
