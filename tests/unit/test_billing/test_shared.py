"""The rule by which budgets are cut into claims, and the names windows go by."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from billing.counters import Counters, Spend
from billing.shared import Ask, Others, Slot, ask_for, base_of, cut, definitions, slot_of

SLOT = Slot("t/day", 5, 5)
nano = st.integers(0, 10**18)


def others(claimed: int, *, wanted: bool = False) -> Others:
    """Everyone else, with nothing but a claim."""
    return Others(claimed, 0, 0, wanted)


@given(nano, nano, nano, st.integers(1, 64), st.booleans())
def test_a_claim_never_exceeds_what_is_left(
    limit: int, claimed: int, need: int, members: int, wanted: bool
) -> None:
    """What is given is at least the need and, with all other claims, at most the limit."""
    given_ = cut(Ask(SLOT, limit, need, 0, 0), others(claimed, wanted=wanted), members)
    if need + claimed > limit:
        assert given_ is None
    else:
        assert given_ is not None
        assert need <= given_ <= limit - claimed


def test_slices_shrink_as_the_limit_nears() -> None:
    """Half an even share at first, a sixteenth below a tenth, to the nano at the end."""
    ask = Ask(SLOT, 1_000_000, 100, 0, 0)
    assert cut(ask, others(0), 4) == 100 + 999_900 // 8
    assert cut(ask, others(950_000), 4) == 100 + 49_900 // 64
    assert cut(ask, others(995_000), 4) == 100
    assert cut(ask, others(0, wanted=True), 4) == 100
    assert cut(ask, others(999_901), 4) is None


@given(st.lists(nano, max_size=6), st.integers(1, 10**12))
def test_claims_one_after_another_fill_the_limit_exactly(needs: list[int], limit: int) -> None:
    """However claims are cut, their sum stays within the limit."""
    total = 0
    for need in needs:
        claim = cut(Ask(SLOT, limit, need, 0, 0), others(total), len(needs))
        total += claim or 0
    assert total <= limit


def test_names_of_windows(money: Any) -> None:
    """Every process gives a window the same name; users have windows of their own."""
    accounts = money.budgeted("9 per day", "9 per rolling 2h", "2 per user per month")
    counters = Counters(accounts, shared=True)
    found = counters.along(money.path, "ana\0\ud800", money.noon)
    assert [slot_of(c).budget for c in found] == [
        "t/day",
        "t/rolling-2h",
        "t/user/month\tana\ufffd?",
    ]
    assert slot_of(found[1]).start_ms == 0
    assert slot_of(found[0]).last_ms == slot_of(found[0]).start_ms
    assert definitions(accounts) == {"t/day", "t/rolling-2h", "t/user/month"}
    assert ask_for(found[0], 7, 5).held_nano == 5
    assert [c.ceiling_nano for c in found] == [0, 0, 0]


def test_past_spend_is_base_of_the_windows_open_now(money: Any) -> None:
    """Spend counts in the calendar window it lies in, and by bucket where a window rolls."""
    accounts = money.budgeted("9 per day", "9 per rolling 2h")
    spends = [
        Spend(money.path, None, money.noon - 86_400_000, 5),
        Spend(money.path, None, money.noon - 3_600_000, 7),
        Spend(money.path, None, money.noon, 11),
    ]
    found = base_of(accounts, spends, money.noon)
    assert sum(row.amount_nano for row in found if row.budget == "t/day") == 18
    rolling = [row for row in found if row.budget == "t/rolling-2h"]
    assert [row.amount_nano for row in rolling] == [7, 11]
    assert rolling[0].bucket_ms < rolling[1].bucket_ms <= money.noon
