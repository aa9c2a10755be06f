"""Every view and state of the app on the golden ledger; figures worked out by hand.

Paid: 2000 + 1000 + 50000 + 3000 + 60000 + 400000 + 12000 + 2 = 528,002 micro-USD.
Compared: 528,002 - 400,000 (R6, no baseline) = 128,002.
Tokenmaxxed: 40000 + 190000 + 50000 + 45000 + 60000 + 9000 + 20 = 394,020.
Saved: 394,020 - 128,002 = 266,018 micro-USD, 67.5% of tokenmaxxed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dashboard.data import policy

pytestmark = pytest.mark.slow  # each opens the whole app


def figures(app: Any) -> dict[str, str]:
    """The big numbers on the screen."""
    assert [error.value for error in app.exception] == []
    return {metric.label: metric.value for metric in app.metric}


def said(app: Any) -> str:
    """All text on the screen."""
    parts = [*app.markdown, *app.caption, *app.subheader, *app.info, *app.error, *app.warning]
    html = [block.proto.body for block in app.get("html")]
    return "\n".join([*(part.value for part in parts), *html])


def test_compare_shows_both_sums_and_the_share(house: Any, open_app: Any) -> None:
    """Paid is everything; tokenmaxxed and saved leave out the request without a baseline."""
    app = open_app(house, period="All time")
    assert figures(app) == {"Tokenmaxxed": "$0.39", "Paid": "$0.53", "Saved": "67.5%"}
    text = said(app)
    assert "8 requests cost $0.53" in text
    assert "would have cost $0.39, so Tokenweir saved $0.27 (67.5%)" in text
    assert ":orange-badge[estimated]" in text
    assert "1 request (\\$0.40) left out" in text
    assert "1 of 8 receipts rest on estimated token counts" in text


def test_compare_looks_back_as_many_days(house: Any, open_app: Any) -> None:
    """March 4th cost 63,000 micro-USD against 53,000 on the day before: 18.9% more."""
    app = open_app(house, period="Chosen days", days="2025-03-04")
    assert "18.9% more than over as many days before" in said(app)
    assert "as many days before" not in said(open_app(house, period="All time"))
    assert "as many days before" not in said(
        open_app(house, period="Chosen days", days="2025-03-03")
    )


def test_compare_says_what_saved_it_and_how_sure_that_is(house: Any, open_app: Any) -> None:
    """A waterfall of the routed requests, with the report in words; no holdout, no interval."""
    text = said(open_app(house, period="All time"))
    assert "What saved it" in text
    assert "no session was held out" in text
    assert "routed\\:" not in text


def test_compare_lists_what_was_done(house: Any, open_app: Any) -> None:
    """The table by action sums exactly the receipts of each, losses negative."""
    table = open_app(house, period="All time").dataframe[0].value.set_index("action")
    assert table["requests"].to_dict() == {"route": 4, "pass": 2, "compress": 1, "route+trim": 1}
    assert table.loc["route", "paid"] == pytest.approx(0.405002)
    assert table.loc["route", "tokenmaxxed"] == pytest.approx(0.08502)
    assert table.loc["compress", "saved"] == pytest.approx(-0.003)


def test_the_url_narrows_every_figure(house: Any, open_app: Any) -> None:
    """Days, team and model in the address give the same view to whoever opens it."""
    one_day = open_app(house, period="Chosen days", days="2025-03-03")
    assert figures(one_day) == {"Tokenmaxxed": "$0.28", "Paid": "$0.053", "Saved": "81.1%"}
    team = open_app(house, period="All time", team="search", model="gpt-6.1-sol")
    assert figures(team) == {"Tokenmaxxed": "$0.11", "Paid": "$0.11", "Saved": "0.0%"}


def test_a_filter_that_matches_nothing_offers_the_way_back(house: Any, open_app: Any) -> None:
    """The last 30 days have no request of 2025; one click shows all time."""
    app = open_app(house)
    assert "Nothing here" in said(app)
    app.button[0].click().run()
    assert figures(app)["Paid"] == "$0.53"


def test_requests_are_listed_newest_first_with_marks(house: Any, open_app: Any) -> None:
    """One row a request; what is estimated or not comparable says so."""
    app = open_app(house, "request_list", period="All time")
    table = app.dataframe[0].value
    assert list(table["paid"].round(6)) == [
        0.000002, 0.012, 0.4, 0.06, 0.003, 0.05, 0.001, 0.002,
    ]  # fmt: skip
    assert list(table["marks"]) == ["", "", "not compared", "", "estimated", "", "", ""]
    assert "8 requests. Pick a row" in said(app)


def test_requests_can_be_searched_and_filtered(house: Any, open_app: Any) -> None:
    """The beginning of a session, and an action, leave the requests that have them."""
    app = open_app(house, "request_list", period="All time", q="s-3", action="route+trim")
    assert len(app.dataframe[0].value) == 1
    app = open_app(house, "request_list", period="All time", q="nobody")
    assert "Nothing here" in said(app)


def test_a_link_to_a_request_shows_its_receipt(house: Any, open_app: Any) -> None:
    """Story, reason, candidates with why not, lines, cuts and attempts of one request."""
    app = open_app(house, "request_list", period="All time", request="R2")
    assert figures(app) == {
        "Tokenmaxxed": "$0.19",
        "Paid": "$0.0010",
        "Saved": "99.5%",
        "Prompt tokens sent": "8,000",
    }
    text = said(app)
    assert "with only the parts that the question needs (8,000 tokens sent)" in text
    assert "The small model is enough" in text
    _, lines, candidates, cuts, attempts = (frame.value for frame in app.dataframe)
    assert list(lines["amount"]) == [0.001]
    assert list(candidates["verdict"]) == ["chosen", "the choice is expected to cost $0.19 less"]
    assert list(cuts["tokens"]) == [240]
    assert list(attempts["status"]) == ["200"]


def test_a_link_to_an_unknown_request_says_so(house: Any, open_app: Any) -> None:
    """A mistyped id is answered, and the list stays."""
    app = open_app(house, "request_list", period="All time", request="R99")
    assert "There is no receipt R99" in said(app)
    assert len(app.dataframe) == 1


def test_teams_show_who_spent_it(house: Any, open_app: Any) -> None:
    """support: 18,002 micro-USD over five requests; search: 510,000 over three."""
    app = open_app(house, "spenders", period="All time")
    figures(app)
    table = app.dataframe[0].value.set_index("name")
    assert table["requests"].to_dict() == {"search": 3, "support": 5}
    assert table["paid"].round(6).to_dict() == {"search": 0.51, "support": 0.018002}
    assert table["share"].sum() == pytest.approx(1)


def test_teams_can_be_grouped_by_model(house: Any, open_app: Any) -> None:
    """An unknown tokenmaxxed cost stays unknown in the table: neither zero nor saved."""
    app = open_app(house, "spenders", period="All time", by="model")
    table = app.dataframe[0].value.set_index("name")
    assert table.loc["gemini-4-argon"][["tokenmaxxed", "saved"]].isna().all()
    assert table.loc["gpt-6-luna", "requests"] == 5


def test_teams_show_the_budgets_of_the_policy(house: Any, open_app: Any) -> None:
    """Both budgets of the weir.yaml are listed with their limits, open and unspent today."""
    app = open_app(house, "spenders", period="All time")
    table = app.dataframe[1].value.set_index("budget")
    assert table["limit"].to_dict() == {"support/day": 10.0, "organisation/year": 100.0}
    assert set(table["state"]) == {"open"}


def test_without_a_policy_budgets_are_said_to_be_unknown(
    house: Any, open_app: Any, tmp_path: Path
) -> None:
    """A policy that cannot be read costs the budgets, not the page."""
    broken = type(house)(house.url, tmp_path / "gone.yaml", house.accounts)
    app = open_app(broken, "spenders", period="All time")
    assert len(app.dataframe) == 1
    assert "Budgets are not known here" in said(app)


def test_a_broken_policy_is_explained(tmp_path: Path) -> None:
    """Bad YAML and a wrong value give no accounts and a sentence."""
    for text in ("teams: [", "budget: often", "- 1"):
        path = tmp_path / "weir.yaml"
        path.write_text(text, encoding="utf-8")
        accounts, problem = policy(str(path))
        assert accounts is None
        assert "weir policy lint" in str(problem)


def test_an_empty_ledger_says_how_to_begin(empty_house: Any, open_app: Any) -> None:
    """No figures of zero: a request to copy instead."""
    app = open_app(empty_house)
    assert figures(app) == {}
    assert "No requests yet" in said(app)
    assert "/v1/chat/completions" in app.code[0].value


@pytest.mark.parametrize("view", ["compare", "request_list", "spenders"])
def test_no_database_is_an_explained_state(view: str, open_app: Any) -> None:
    """Without WEIR_DATABASE every view says what is missing and what to run."""
    app = open_app(None, view)
    assert figures(app) == {}
    assert "WEIR_DATABASE is not set" in said(app).replace("\\", "")


def test_a_missing_file_is_not_created(house: Any, open_app: Any, tmp_path: Path) -> None:
    """Looking at a database that is not there does not make one."""
    path = tmp_path / "nowhere.db"
    app = open_app(type(house)(f"sqlite:///{path}", house.policy, house.accounts))
    assert "There is no database" in said(app)
    assert not path.exists()


def test_a_file_that_is_no_ledger_is_an_explained_state(
    house: Any, open_app: Any, tmp_path: Path
) -> None:
    """Another kind of URL, and a file of something else, give a sentence, no stack trace."""
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    for url in (f"sqlite:///{other}", "postgres://x/y"):
        app = open_app(type(house)(url, house.policy, house.accounts))
        assert figures(app) == {}
        assert "No ledger to read" in said(app)


def test_chargeback_adds_up_and_offers_the_close(house: Any, open_app: Any) -> None:
    """The month by team, its state in words, and the command that freezes it."""
    app = open_app(house, "chargeback")
    assert [error.value for error in app.exception] == []
    table = app.dataframe[0].value.set_index("name")
    assert table["total"].to_dict() == {
        "search": pytest.approx(0.51), "support": pytest.approx(0.018002),
    }  # fmt: skip
    assert "2025-03 comes to $0.53 for 8 requests. It is open" in said(app)
    assert app.code[0].value == "weir close 2025-03"
    by_project = open_app(house, "chargeback", centre="project").dataframe[0].value
    assert set(by_project["name"]) == {"chat", "(none)"}


def test_reconcile_compares_a_file_and_writes_nothing(house: Any, open_app: Any) -> None:
    """An export is held against the ledger; a file that is none is refused in words."""
    app = open_app(house, "provider_check")
    assert "No day has been booked" in said(app)
    good = b"day,account,cost_usd\n2025-03-03,openai,0.053\n2025-03-04,openai,0.083\n"
    app.file_uploader[0].upload("export.csv", good, "text/csv").run()
    assert [error.value for error in app.exception] == []
    assert "1 of 2 account days agree" in said(app)
    assert "the provider bills $0.020 more" in said(app)
    app.file_uploader[0].upload("export.csv", b"a,b\n1,2\n", "text/csv").run()
    assert [error.value for error in app.exception] == []
    assert len(app.error) == 1


def test_another_currency_is_shown_with_its_rate_and_exported_beside_usd(
    house: Any, open_app: Any, tmp_path: Path
) -> None:
    """$0.528002 at 1.25 is 0.4224016 euros: marked, dated, and USD again by one choice."""
    policy_of = tmp_path / "weir.yaml"
    rates = "currency: { code: EUR, rates: [{ from: 2025-01-01, usd_per: 1.25 }] }\n"
    policy_of.write_text(house.policy.read_text() + rates, encoding="utf-8")
    euros = type(house)(house.url, policy_of, house.accounts)
    app = open_app(euros, period="All time")
    assert figures(app)["Paid"] == "\u2248\u20ac0.42"
    assert "converted at 1.25 USD per EUR, the rate of 1 Jan 2025" in said(app).replace("\\", "")
    table = app.dataframe[0].value.set_index("action")
    assert table.loc["route", "paid"] == pytest.approx(0.405002 / 1.25)
    dollars = open_app(euros, period="All time", currency="USD")
    assert figures(dollars)["Paid"] == "$0.53"


def test_policy_versions_stand_under_prices(house: Any, open_app: Any, monkeypatch: Any) -> None:
    """One policy decided all eight golden requests."""
    told = '{"made": "2025-03-07", "models": [], "findings": [], "hashes": {"policy": "x"}}'
    monkeypatch.setenv("WEIR_FACTS", told)
    app = open_app(house, "price_list")
    assert [error.value for error in app.exception] == []
    versions = app.dataframe[-1].value
    assert list(versions["receipts"]) == [8]
    assert versions["policy"][0] == "sha256:" + "1" * 12


def test_the_playground_begins_with_a_past_request(house: Any, open_app: Any) -> None:
    """Where its body is not kept it says so, and how to keep bodies; a wrong id is none."""
    assert "Its body is not kept" in said(open_app(house, "playground", request="R1"))
    assert "There is no such request" in said(open_app(house, "playground", request="R99"))
