"""The Quality view: success by arm, with how sure that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from billing.accounts import Accounts
from billing.ledger import HoldRequest, Ledger
from billing.outcome_rows import post
from billing.outcomes import Outcome
from billing.reports import TaskRow
from billing.savings import cleanliness, measure
from billing.savings_report import Causes, Report
from billing.split import Split
from dashboard.charts_quality import rates
from dashboard.views.quality import in_words, table_of, wilson

USD = 1_000_000_000


def report(*rows: TaskRow) -> Report:
    """A report of these tasks and of nothing else."""
    causes = Causes(0, 0, Split(0, 0, 0, 0, 0), 0, 0, 0)
    return Report(measure([], []), cleanliness([], []), causes, rows)


def test_the_interval_is_wilsons() -> None:
    """Known values of the score interval; nothing known is anything at all."""
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.49, 0.943)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0


def test_both_arms_in_one_sentence() -> None:
    """Rates and the cost of an accepted outcome, beside each other."""
    found = report(TaskRow("holdout", 9, 1, 18 * USD), TaskRow("routed", 90, 10, 45 * USD))
    assert in_words(found) == (
        "90.0% of 100 routed tasks were accepted, against 90.0% of 10 tasks held out; an accepted "
        "outcome cost $0.50 routed and $2.00 held out."
    )
    clean = replace(found, clean=replace(found.clean, clean=False))
    assert in_words(clean).endswith("The savings are NOT clean.")


def test_one_arm_alone_compares_with_nothing() -> None:
    """Without tasks held out, or without routed ones, the sentence says so."""
    assert "nothing compares" in in_words(report(TaskRow("routed", 1, 0, USD)))
    assert "not known" in in_words(report(TaskRow("holdout", 1, 0, USD)))


def test_the_chart_has_a_dot_and_an_interval_for_each_arm() -> None:
    """The figures of the chart are those of the table."""
    records = table_of((TaskRow("routed", 8, 2, USD), TaskRow("holdout", 9, 1, USD))).records
    spec: dict[str, Any] = rates(records).to_dict()
    (values,) = spec["datasets"].values()
    assert [(one["arm"], one["rate"]) for one in values] == [("Routed", 0.8), ("Held out", 0.9)]
    assert "Routed: 80.0% of 10 tasks, 49.0% to 94.3%" in spec["description"]


@pytest.mark.slow
def test_the_page_counts_what_was_said(
    tmp_path: Path, accounts: Accounts, house: Any, open_app: Any, golden: Any
) -> None:
    """Outcomes posted for two requests stand on the screen; without any it says how."""
    assert "No outcomes yet" in [
        one.value for one in open_app(house, "quality", period="All time").subheader
    ]
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    at_ms = int(datetime(2025, 3, 3, 12).astimezone().timestamp() * 1000)
    ledger = Ledger(url, accounts, lambda: at_ms).open()
    path = ("organisation", "support", "support/chat", "support/chat/chat-prod")
    for name in ("R1", "R2", "R4"):
        receipt = golden(name, at_ms=at_ms, task=f"t-{name}")
        request = HoldRequest(name, path, None, 0, at_ms, "m", "u")
        ledger.settle(ledger.hold(request), receipt)
    ledger.close()
    for name, said in (("R1", "accepted"), ("R2", "rejected")):
        post(url, Outcome("support", f"t-{name}", said, None, "k", at_ms))
    app = open_app(type(house)(url, house.policy, accounts), "quality", period="All time")
    assert [error.value for error in app.exception] == []
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["accepted"], row["rejected"], row["rate"]) == (1, 1, 0.5)
