"""Realised savings: where changing requests has cost money, it stops."""

from __future__ import annotations

from router.gate import (
    LEAST_CHANGED,
    PAUSE_MS,
    REWRITE,
    SWITCH,
    TEAM_CHANGED,
    Realised,
    SavingsBook,
)

AT = 1_780_272_000_000
CENT = 10_000_000


def done(lever: str, saved: int, *, talk: str = "s", team: str = "t", at: int = AT) -> Realised:
    """A request with a baseline of ten cents."""
    return Realised(talk, team, lever, 10 * CENT, 10 * CENT - saved, at)


def test_a_conversation_that_loses_by_rewriting_is_left_alone() -> None:
    """Once a rewrite had time to pay back and did not, it stops there and nowhere else."""
    book = SavingsBook()
    for _ in range(LEAST_CHANGED[REWRITE] - 1):
        assert book.note(done(REWRITE, -CENT)) == ()
        assert book.off("s", "t", AT) == {}
    assert book.note(done(REWRITE, -CENT)) == ("session:rewrite",)
    assert book.off("s", "t", AT) == {REWRITE: "session"}
    assert book.off("other", "t", AT) == {}
    assert book.saved_nano("s") == -LEAST_CHANGED[REWRITE] * CENT


def test_what_a_change_costs_later_counts_against_it() -> None:
    """Requests after the change that went as asked but lost their warm prefix are its fault."""
    book = SavingsBook()
    book.note(done(SWITCH, CENT // 4))
    book.note(done(SWITCH, CENT // 4))
    assert book.off("s", "t", AT) == {}
    assert book.note(done("", -3 * CENT)) == ("session:switch",)
    assert book.off("s", "t", AT) == {SWITCH: "session"}


def test_an_untouched_conversation_is_never_judged() -> None:
    """Without a change a difference from the baseline is the estimate's, not the gate's."""
    book = SavingsBook()
    for _ in range(10):
        assert book.note(done("", -5 * CENT)) == ()
    assert book.off("s", "t", AT) == {}


def test_noise_is_no_loss() -> None:
    """A loss within two per cent of the baseline changes nothing."""
    book = SavingsBook()
    for _ in range(10):
        book.note(done(REWRITE, -CENT // 10))
    assert book.off("s", "t", AT) == {}


def test_a_team_that_loses_pauses_and_tries_again() -> None:
    """A team's lever goes off after many losing requests, for hours, then starts from nothing."""
    book = SavingsBook()
    said = [book.note(done(REWRITE, -CENT, talk=f"s{n}")) for n in range(TEAM_CHANGED + 10)]
    assert said.count(("team:rewrite",)) == 1
    assert book.off("new", "t", AT) == {REWRITE: "team"}
    assert book.off("new", "u", AT) == {}
    assert book.off("new", "t", AT + PAUSE_MS) == {}
    assert book.note(done(REWRITE, -CENT, talk="s900", at=AT + PAUSE_MS)) == ()


def test_savings_outweigh_single_losses() -> None:
    """What is saved on the whole keeps its lever."""
    book = SavingsBook()
    for number in range(200):
        book.note(done(SWITCH, -CENT if number % 5 == 0 else CENT, talk=f"s{number % 20}"))
    assert book.off("s1", "t", AT) == {}


def test_only_so_many_conversations_are_remembered() -> None:
    """The oldest goes first."""
    book = SavingsBook(limit=3)
    for number in range(6):
        for _ in range(LEAST_CHANGED[SWITCH]):
            book.note(done(SWITCH, -CENT, talk=f"s{number}"))
    assert book.off("s0", "other", AT) == {}
    assert book.off("s5", "other", AT) == {SWITCH: "session"}
