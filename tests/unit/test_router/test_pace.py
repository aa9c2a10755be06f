"""How long conversations are expected to go on."""

from __future__ import annotations

from router.pace import QUICK_PRIOR, UP_PRIOR, Pace


def test_what_has_lasted_is_expected_to_last() -> None:
    """Before anything is known a long conversation has more to come than a new one."""
    pace = Pace()
    assert 1.4 < pace.turns_left("k", 1) < 2
    assert pace.turns_left("k", 10) > 5
    assert pace.turns_left("k", 500) == 1


def test_a_key_of_single_questions_is_learned() -> None:
    """Where nothing follows the first request, nothing is expected to."""
    pace = Pace()
    for _ in range(500):
        pace.note("k", 1, None)
    assert pace.turns_left("k", 1) < 1.05


def test_a_key_of_long_conversations_is_learned() -> None:
    """Where all conversations have 20 requests, a new one is expected to have nearly so many."""
    pace = Pace()
    for _ in range(100):
        for number in range(1, 21):
            pace.note("k", number, 30_000)
    assert 17 < pace.turns_left("k", 1) < 21
    assert pace.turns_left("k", 20) < 2.5
    assert pace.quick("k") > 0.98
    assert pace.turns_left("other", 1) < 2


def test_slow_conversations_are_learned() -> None:
    """Where requests come hours apart, no cache is expected to live between them."""
    pace = Pace()
    assert pace.quick("k") == QUICK_PRIOR
    for _ in range(100):
        pace.note("k", 2, 3_600_000)
    assert pace.quick("k") < 0.1


def test_how_often_conversations_go_up_again_is_learned() -> None:
    """Turns after a small model's answer that needed a larger one are counted for each key."""
    pace = Pace()
    assert pace.ups("k") == UP_PRIOR
    for _ in range(200):
        pace.note("k", 2, 1_000, went_up=False)
        pace.note("j", 2, 1_000, went_up=True)
        pace.note("i", 2, 1_000)
    assert pace.ups("k") < 0.05
    assert pace.ups("j") > 0.9
    assert pace.ups("i") == UP_PRIOR


def test_only_so_many_keys_are_remembered() -> None:
    """The key that was quiet longest is forgotten."""
    pace = Pace(limit=2)
    for key in ("a", "b", "a", "c"):
        for _ in range(200):
            pace.note(key, 1, None)
    assert pace.turns_left("b", 1) > 1.4
    assert pace.turns_left("a", 1) < 1.2
