"""Past spend: windows stand the same from roll-ups as from receipts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rollup_story import fill

from billing.accounts import Accounts, BillingSection, build_accounts
from billing.counters import Counters
from billing.spend import HOUR_MS, Look, look_back
from billing.store import Store
from billing.store_rows import Whose

DAY_MS = 86_400_000
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham")


def accounts(zone: str, *budgets: str) -> Accounts:
    """Two teams with budgets, as the story has them."""
    keys = {name: f"sha256:{digit * 64}" for name, digit in (("k", "a"), ("l", "b"))}
    document: dict[str, Any] = {
        "timezone": zone,
        "budget": list(budgets),
        "keys": keys,
        "teams": {"t": {"budget": list(budgets), "keys": ["k"]}, "u": {"keys": ["l"]}},
    }
    return build_accounts(BillingSection.model_validate(document))


def windows(store: Store, tree: Accounts, at_ms: int, whose: Whose, *, rolled: bool) -> Any:
    """What each window of each path has spent at an instant."""
    counters = Counters(tree)
    if rolled:
        counters.load(store.spends(look_back(tree, at_ms), whose), at_ms)
    else:
        counters.load(store.spend_since(0, 1, whose), at_ms)
    found = {}
    for path in (("organisation", "t", "t/k"), ("organisation", "u", "u/l")):
        for user in (None, "ana", "bo"):
            for counter in counters.along(path, user, at_ms):
                found[counter.node.id, counter.budget.label, counter.user] = counter.spent_nano
    return found


@given(
    seed=st.integers(0, 10**6),
    zone=st.sampled_from(ZONES),
    later=st.integers(0, 10 * 24 * 60),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_are_the_same_from_roll_ups(
    tmp_path_factory: pytest.TempPathFactory, seed: int, zone: str, later: int
) -> None:
    """Calendar windows and short sliding ones have spent exactly what their receipts cost."""
    path = tmp_path_factory.mktemp("spend") / "weir.db"
    fill(f"sqlite:///{path}", seed, 60, fresh=seed % 9)
    tree = accounts(
        zone, "9000 per month", "900 per day", "90 per rolling 5h", "9 per user per week"
    )
    store, whose = Store(path), Whose()
    at_ms = store.latest_ms() + later * 60_000  # the clock of budgets never runs backwards
    try:
        assert windows(store, tree, at_ms, whose, rolled=True) == windows(
            store, tree, at_ms, whose, rolled=False
        )
    finally:
        store.close()


def test_a_long_sliding_window_never_forgets_too_early(tmp_path: Path) -> None:
    """By the hour, at least what the window holds, and at most what one two hours longer does."""
    path = tmp_path / "weir.db"
    fill(f"sqlite:///{path}", 8, 200, fresh=7)
    tree = accounts("Asia/Kathmandu", "9000 per rolling 7d", "100 per day")
    store, whose, dice = Store(path), Whose(), random.Random(8)
    for _ in range(20):
        at_ms = store.latest_ms() + dice.randrange(9 * DAY_MS)
        known = windows(store, tree, at_ms, whose, rolled=True)
        exact = windows(store, tree, at_ms, whose, rolled=False)
        longer = accounts("Asia/Kathmandu", "9000 per rolling 170h", "100 per day")
        earlier = {
            (node, label.replace("170h", "1w"), user): spent
            for (node, label, user), spent in windows(
                store, longer, at_ms, whose, rolled=False
            ).items()
        }
        for name, spent in exact.items():
            if name[1] == "day":
                assert known[name] == spent
            else:
                assert spent <= known[name] <= earlier[name]
    store.close()


def test_others_than_some_writers(tmp_path: Path) -> None:
    """All but some is all less theirs, and one alone is that one."""
    path = tmp_path / "weir.db"
    fill(f"sqlite:///{path}", 9, 40, fresh=5)
    tree, store = accounts("UTC", "9000 per month"), Store(path)
    at_ms = store.latest_ms()
    whole = windows(store, tree, at_ms, Whose(), rolled=True)
    none = windows(store, tree, at_ms, Whose(without=frozenset({""})), rolled=True)
    assert whole == windows(store, tree, at_ms, Whose(only=""), rolled=True)
    assert any(whole.values())
    assert not any(none.values())
    store.close()


def test_segments_begin_where_windows_do() -> None:
    """Fine where a short window slides, by the hour where a long one does, whole before."""
    look = Look(1000, (100, 800), 300, 600, 10)
    assert [(start, end) for start, end, _ in look.segments()] == [
        (100, 300), (300, 600), (600, 800), (800, None),
    ]  # fmt: skip
    sizes = [size for _, _, size in look.segments()]
    assert sizes[0] > HOUR_MS
    assert sizes[1:] == [HOUR_MS, 10, 10]
    assert list(Look(0, (), None, None, 10).segments()) == []
