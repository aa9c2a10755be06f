"""Logging in: what each person finds on each view, and what nobody finds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from billing.access import NotAllowed, Viewer
from billing.policy_schema import Role
from billing.reports import Scope
from dashboard import data
from dashboard.data import Source

PEOPLE = """
people:
  ada: {{ key: "{ada}", role: finance }}
  bo: {{ key: "{bo}", role: owner, teams: [support] }}
  cy: {{ key: "{cy}" }}
"""
SECRETS = {"ada": "key-of-ada", "bo": "key-of-bo", "cy": "key-of-cy"}


@pytest.fixture
def guarded(house: Any, tmp_path: Path) -> Any:
    """The golden ledger under a policy that names three people."""
    hashes = {
        name: "sha256:" + hashlib.sha256(secret.encode()).hexdigest()
        for name, secret in SECRETS.items()
    }
    policy = tmp_path / "weir.yaml"
    policy.write_text(house.policy.read_text() + PEOPLE.format(**hashes), encoding="utf-8")
    return replace(house, policy=policy)


def log_in(app: Any, name: str) -> Any:
    """Type the key of somebody and press the button."""
    app.text_input[0].set_value(SECRETS.get(name, name))
    app.button[0].click().run()
    assert [error.value for error in app.exception] == []
    return app


def metrics(app: Any) -> dict[str, str]:
    """The big numbers on the screen."""
    return {metric.label: metric.value for metric in app.metric}


@pytest.mark.slow
def test_without_a_key_there_is_no_figure(guarded: Any, open_app: Any) -> None:
    """Only the form is shown; a wrong key opens nothing and is not repeated."""
    app = open_app(guarded, period="All time")
    assert metrics(app) == {}
    app = log_in(app, "wrong-key")
    assert app.error[0].value == "This key opens nothing here."
    assert metrics(app) == {}


@pytest.mark.slow
def test_finance_sees_all_and_an_owner_own_teams(guarded: Any, open_app: Any) -> None:
    """The same link shows everything to one and one team to the other."""
    whole = log_in(open_app(guarded, period="All time"), "ada")
    assert metrics(whole)["Paid"] == "$0.53"
    own = log_in(open_app(guarded, period="All time"), "bo")
    assert metrics(own)["Paid"] == "$0.018"
    team = next(box for box in own.selectbox if box.label == "Team")
    assert team.options == ["support"]


@pytest.mark.slow
def test_who_logs_out_sees_nothing_more(guarded: Any, open_app: Any) -> None:
    """The way out is on every view."""
    app = log_in(open_app(guarded, period="All time"), "ada")
    next(button for button in app.button if button.label == "Log out").click().run()
    assert metrics(app) == {}


@pytest.mark.slow
def test_a_policy_that_cannot_be_read_locks_the_door(
    house: Any, tmp_path: Path, open_app: Any
) -> None:
    """It might name who may look: nothing is shown until it can be read."""
    broken = tmp_path / "weir.yaml"
    broken.write_text("teams: [", encoding="utf-8")
    app = open_app(replace(house, policy=broken), period="All time")
    assert metrics(app) == {}
    assert "cannot be read as a policy" in app.error[0].value


@pytest.fixture
def source(house: Any, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The golden ledger as an owner of one team opens it."""
    monkeypatch.setenv("WEIR_DATABASE", house.url)
    monkeypatch.setenv("WEIR_CONFIG", str(house.policy))
    return replace(data.open_source(), viewer=Viewer("bo", Role.OWNER, ("support",)))


def test_no_question_answers_more_than_the_viewer_may_know(source: Source) -> None:
    """Every way to a figure is closed below the views: sums, lists, receipts, names, months."""
    own, other = Scope(team="support"), Scope(team="search")
    for ask in (source.overall, source.savings, source.daily):
        ask(own)
        for scope in (other, Scope()):
            with pytest.raises(NotAllowed):
                ask(scope)
    for scope in (other, Scope()):
        with pytest.raises(NotAllowed):
            source.grouped("key", scope)
        with pytest.raises(NotAllowed):
            source.listing(scope, "")
    assert source.receipt("R1") is not None
    assert source.receipt("R3") is None
    assert source.labels("team") == ["support"]
    assert source.labels("key") == ["chat-prod"]
    assert {one.node for one in source.windows(data.clock())} == {"support"}
    for ask in (source.months, source.reconciliations):
        with pytest.raises(NotAllowed):
            ask()
    with pytest.raises(NotAllowed):
        source.charged("2025-03", "team")


def test_a_viewer_sees_sums_alone(source: Source) -> None:
    """No list of requests and no receipt, whatever the address says."""
    who = replace(source, viewer=Viewer("cy", Role.VIEWER))
    assert who.overall(Scope()).requests == 8
    for ask in (lambda: who.listing(Scope(), ""), lambda: who.receipt("R1")):
        with pytest.raises(NotAllowed):
            ask()
