"""Every view in every role and state: no exception, no figure that is not the viewer's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from billing.access import Viewer
from billing.policy_schema import Role

pytestmark = pytest.mark.slow  # each opens the whole app

VIEWS = {
    "compare": "compare", "overview": "overview", "request_list": "requests",
    "spenders": "teams", "models": "models", "quality": "quality", "chargeback": "chargeback",
    "provider_check": "reconcile", "playground": "playground", "price_list": "prices",
}  # fmt: skip
CHARTS = {"compare": 3, "spenders": 2}
ROLES = {
    "viewer": "{ key: '%s' }",
    "owner": "{ key: '%s', role: owner, teams: [support] }",
    "finance": "{ key: '%s', role: finance }",
    "admin": "{ key: '%s', role: admin }",
}
_SECRET = "the-key"


def text_of(app: Any) -> str:
    """All that is written on the screen and in its tables."""
    assert [error.value for error in app.exception] == []
    parts = [*app.markdown, *app.caption, *app.subheader, *app.info, *app.error, *app.warning]
    html = [block.proto.body for block in app.get("html")]
    tables = [frame.value.to_csv() for frame in app.dataframe]
    return "\n".join([*(part.value for part in parts), *html[1:], *tables])


@pytest.mark.parametrize("view", VIEWS)
def test_a_filled_ledger_is_drawn_and_can_be_heard(house: Any, open_app: Any, view: str) -> None:
    """No exception, and each chart says in words what it shows."""
    app = open_app(house, view, period="All time")
    assert text_of(app)
    charts = app.get("vega_lite_chart")
    assert len(charts) >= CHARTS.get(view, 0)
    for chart in charts:
        assert len(orjson.loads(chart.proto.spec)["description"]) > 20


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_ledger_says_how_to_begin_on_every_view(
    empty_house: Any, open_app: Any, view: str
) -> None:
    """No figure of zero, no spinner: what to do first."""
    app = open_app(empty_house, view)
    assert "No requests yet" in text_of(app)
    assert len(app.metric) == 0
    assert len(app.dataframe) == 0


@pytest.mark.parametrize("role", ROLES)
def test_each_role_finds_its_views_and_no_others(
    house: Any, open_app: Any, tmp_path: Path, role: str
) -> None:
    """Views of the role are drawn; an owner of one team reads no word of another."""
    known = "sha256:" + hashlib.sha256(_SECRET.encode()).hexdigest()
    policy = tmp_path / "weir.yaml"
    person = ROLES[role] % known
    policy.write_text(f"{house.policy.read_text()}people:\n  pat: {person}\n", encoding="utf-8")
    app = open_app(replace(house, policy=policy), period="All time")
    app.text_input[0].set_value(_SECRET)
    app.button[0].click().run()
    may = Viewer("pat", Role(role)).may
    for view, path in VIEWS.items():
        if not may(path):
            continue
        app.switch_page(f"views/{view}.py").run()
        said = text_of(app)
        assert app.title[0].value
        if role == "owner":
            assert "search" not in said
            assert "gemini-4-argon" not in said


def test_a_ledger_that_stands_still_shows_its_age(house: Any, open_app: Any) -> None:
    """The newest request is of March 2025: its age and its day are beside every view."""
    aside = "\n".join(one.value for one in open_app(house, period="All time").sidebar.caption)
    assert "days ago" in aside
    assert "2025-03-06" in aside
