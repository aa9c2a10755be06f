"""`weir policy explain`: every rule with the node that set it, and whether it decides."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from gateway.errors import InvalidRequest
from gateway.policy_explain import explain_policy
from gateway.policy_explain_table import print_policy
from gateway.settings import parse
from gateway.snapshot import Snapshot, build_snapshot
from router.errors import UnknownModel

CONFIG = """
version: 1
timezone: Europe/Berlin
upstreams:
  openai:    { kind: openai, api_key: x }
  anthropic: { kind: anthropic, api_key: x }
models:
  gpt-6-luna:        { upstream: openai, tier: small }
  gpt-6.1-sol:       { upstream: openai, tier: mid, fallbacks: [claude-sonnet-5-5] }
  claude-sonnet-5-5: { upstream: anthropic, tier: mid }
routing: { mode: route, baseline: gpt-6.1-sol }
holdout: 5% of sessions
ladders:
  steady:
    80%: [notify, route: cheaper]
    95%: [compress: hard, max_output: 2000]
    100%: reject
budget: 60000 per month
at: steady
limits: { max_output: 16000 }
teams:
  support:
    budget: [18000 per month, 60 per user per day, 2 per request]
    projects:
      chat: { keys: [chat], holdout: 10% of sessions, prefer: { fit: hard }, limits: { max_output: 4000 } }
  claims:
    baseline: claude-sonnet-5-5
    keys: [claims]
    allow: [claude-sonnet-5-5]
    region: eu
    forbid: [trim, compress, downgrade]
keys:
  chat: sha256:1000000000000000000000000000000000000000000000000000000000000000
  claims:
    hash: sha256:2000000000000000000000000000000000000000000000000000000000000000
    budget: 10 per day
    revoked: true
"""  # noqa: E501 - one project is one line of YAML
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return build_snapshot(parse(CONFIG, "weir.yaml"))


def said(rows: list[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[k] == v for k, v in wanted.items())]


def test_every_ceiling_with_its_open_window(snapshot: Snapshot) -> None:
    """All budgets of the path are listed with their place and the window open now, local time."""
    found = explain_policy(snapshot, "chat", None, NOW)
    assert [(c["node"], c["says"]) for c in found["ceilings"]] == [
        ("organisation", "60000 USD per month"),
        ("support", "18000 USD per month"),
        ("support", "60 USD per user per day"),
        ("support", "2 USD per request"),
    ]
    assert found["ceilings"][0]["from"] == "2026-11-01T00:00+01:00"
    assert found["ceilings"][2]["until"] == "2026-11-23T00:00+01:00"
    assert "from" not in found["ceilings"][3]
    assert found["ceilings"][1]["where"] == "teams.support.budget"
    assert found["path"] == ["organisation", "support", "support/chat", "support/chat/chat"]


def test_the_tightest_limit_decides(snapshot: Snapshot) -> None:
    """Of two limits of a kind the smaller one is the one that decides."""
    rows = explain_policy(snapshot, "chat", None, NOW)["limits"]
    assert [(r["node"], r["value"], r["decides"]) for r in rows] == [
        ("organisation", 16000, False),
        ("support/chat", 4000, True),
    ]
    assert rows[1]["where"] == "teams.support.projects.chat.limits.max_output"


def test_the_nearest_preference_decides(snapshot: Snapshot) -> None:
    """A project's holdout hides the organisation's; both are shown."""
    rows = explain_policy(snapshot, "chat", None, NOW)["preferences"]
    assert [(r["value"], r["decides"]) for r in said(rows, preference="holdout")] == [
        ("5% of sessions", False),
        ("10% of sessions", True),
    ]
    assert said(rows, preference="fit.ratio")[0]["decides"] is False
    result = explain_policy(snapshot, "chat", None, NOW)["result"]
    assert (result["keep_recent"], result["ratio"]) == (2048, 20.0)


def test_who_forbids_and_who_denies(snapshot: Snapshot) -> None:
    """Prohibitions and permissions name the node that set them."""
    found = explain_policy(snapshot, "claims", "gpt-6-luna", NOW)
    assert {f["action"] for f in found["forbid"]} == {"trim", "compress", "downgrade"}
    assert {f["node"] for f in found["forbid"]} == {"claims"}
    assert found["models"][0]["denied_by"] == ["claims"]
    assert [p["says"] for p in found["permissions"]] == [["claude-sonnet-5-5"], ["eu"]]
    assert found["result"]["ways"] == ["lossless"]
    assert (found["usable"], found["revoked"]) == (False, True)
    assert said(found["ceilings"], node="claims/claims")[0]["where"] == "keys.claims.budget"


def test_a_ladder_shows_what_is_forbidden(snapshot: Snapshot) -> None:
    """Actions that the key's policy forbids are named as skipped."""
    rungs = explain_policy(snapshot, "claims", None, NOW)["ladder"]["rungs"]
    assert rungs == [
        {"at": "80%", "actions": ["notify"], "forbidden": ["route: cheaper"]},
        {"at": "95%", "actions": ["max_output: 2000"], "forbidden": ["compress: hard"]},
        {"at": "100%", "actions": ["reject"], "forbidden": []},
    ]


def test_where_a_request_may_go(snapshot: Snapshot) -> None:
    """For a model: which others may answer, when, and why not."""
    free = explain_policy(snapshot, "chat", "gpt-6.1-sol", NOW)["may_go_to"]
    assert [(m["model"], m["ok"]) for m in free] == [
        ("gpt-6-luna", True),
        ("claude-sonnet-5-5", False),
    ]
    bound = explain_policy(snapshot, "claims", "claude-sonnet-5-5", NOW)["may_go_to"]
    assert not any(m["ok"] for m in bound)
    assert all(m["when"].startswith("never: not allowed") for m in bound)
    auto = explain_policy(snapshot, "chat", "auto", NOW)
    assert [m["ok"] for m in auto["may_go_to"]] == [True, True, True]


def test_a_teams_own_baseline_is_what_auto_is_compared_with(snapshot: Snapshot) -> None:
    """The nearest baseline decides, and the decision uses it."""
    found = explain_policy(snapshot, "claims", "auto", NOW)
    assert found["result"]["baseline"] == "claude-sonnet-5-5"
    rows = found["preferences"]
    assert said(rows, preference="baseline")[0]["node"] == "claims"
    assert said(rows, preference="routing.baseline")[0]["decides"] is False


def test_unknown_names_are_said(snapshot: Snapshot) -> None:
    """An unknown key or model raises an error that lists what there is."""
    with pytest.raises(InvalidRequest, match="chat, claims"):
        explain_policy(snapshot, "nobody", None, NOW)
    with pytest.raises(UnknownModel, match="gpt-6-luna"):
        explain_policy(snapshot, "chat", "gpt-99", NOW)


@pytest.mark.parametrize(("key", "model"), [("chat", None), ("claims", "auto")])
def test_the_table_names_nodes_and_places(snapshot: Snapshot, key: str, model: str | None) -> None:
    """For a person every rule stands with its node and its place in the file."""
    console = Console(record=True, width=150, file=None, quiet=False, stderr=True)
    print_policy(explain_policy(snapshot, key, model, NOW), console)
    text = console.export_text()
    for word in (
        "ceilings: every one counts",
        "organisation",
        "ladder steady",
        "(limits.max_output)",
    ):
        assert word in text
    assert ("revoked" in text) == (key == "claims")
