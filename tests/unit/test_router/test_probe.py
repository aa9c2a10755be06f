"""The search for an effective length: it finds it, errs low, and stops."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from router.probe import Point, Range, Reach, Search, planned
from router.probe_tasks import Kind, Trial

OVER = Range(shortest=1_024, longest=131_072)


def run(chance: Callable[[int], float], over: Range = OVER, seed: int = 1) -> tuple[Reach, int]:
    """A search over a model that is right with ``chance(tokens)``, and how much it asked."""
    rng = random.Random(seed)
    search, asked = Search(Kind.LITERAL, over), 0
    while wanted := search.wanted():
        for trial in wanted:
            asked += 1
            search.record(trial, rng.random() < chance(trial.tokens))
    return search.reach(), asked


@pytest.mark.parametrize("limit", [1_500, 6_000, 20_000, 47_000, 100_000])
def test_a_sharp_limit_is_found_within_a_tenth_and_never_overstated(limit: int) -> None:
    """The longest length that holds lies at most 10% below the limit, never above."""
    reach, asked = run(lambda tokens: 1.0 if tokens <= limit else 0.2)
    assert 0.9 * limit <= reach.tokens <= limit
    assert reach.finished
    assert not reach.at_least
    assert asked < 260


@pytest.mark.parametrize("seed", range(10))
def test_noise_makes_a_probe_err_low_not_high(seed: int) -> None:
    """A model that is wrong 3% of the time below 20K and 40% above is put at 20K or less."""
    reach, _ = run(lambda tokens: 0.97 if tokens <= 20_000 else 0.6, seed=seed)
    assert 10_000 <= reach.tokens <= 20_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "most", "share"),
    [(0.0, 64, 1.0), (0.02, 64, 0.98), (0.05, 64, 0.8), (0.1, 64, 0.5), (0.1, 128, 0.85)],
)
def test_how_often_noise_moves_what_is_found_by_a_tenth(
    noise: float, most: int, share: float
) -> None:
    """Of 300 searches at six lengths at least this share is within a tenth; hardly one is above."""
    near = above = 0
    for seed in range(300):
        limit = (2_000, 5_600, 11_000, 20_000, 47_000, 90_000)[seed % 6]

        def chance(tokens: int, limit: int = limit) -> float:
            beyond = tokens / limit - 1
            return (1 - noise) * (1.0 if beyond <= 0 else max(0.0, 0.7 - 0.7 * beyond))

        reach, _ = run(chance, replace(OVER, most=most), seed)
        near += 0.9 * limit <= reach.tokens <= 1.1 * limit
        above += reach.tokens > 1.1 * limit
    print(f"{noise:.0%} noise, {most} questions: {near / 300:.0%} within a tenth, {above} above")
    assert near / 300 >= share
    assert above <= 3


def test_a_model_that_holds_everywhere_is_at_least_as_long_as_what_was_tried() -> None:
    """The longest length tried is a lower bound and says so."""
    reach, asked = run(lambda tokens: 1.0)
    assert (reach.tokens, reach.at_least, reach.finished) == (131_072, True, True)
    assert asked == OVER.most + 16 * (len(OVER.doublings()) - 1)
    assert asked < sum(likely for _, likely, _ in planned(OVER, (Kind.LITERAL,)))


def test_a_curve_is_asked_for_beyond_what_holds_and_moves_nothing() -> None:
    """Every doubling has its questions, also of a model that cannot do the task at all."""
    for limit in (500, 6_000):
        alone, asked = run(lambda tokens, limit=limit: float(tokens <= limit))
        over = replace(OVER, curve=12)
        drawn, more = run(lambda tokens, limit=limit: float(tokens <= limit), over)
        assert (drawn.tokens, drawn.finished) == (alone.tokens, True)
        counts = {point.tokens: point.asked for point in drawn.points}
        assert all(counts[length] >= 12 for length in over.doublings())
        assert asked < more <= asked + 12 * len(over.doublings())


def test_a_model_that_cannot_do_the_task_has_length_zero() -> None:
    """Who fails half of the shortest questions is not measured further."""
    reach, asked = run(lambda tokens: 0.1)
    assert (reach.tokens, reach.finished, asked) == (0, True, OVER.most)


def test_a_search_is_a_pure_function_of_its_answers() -> None:
    """Answers recorded again, in any order of lengths, lead to the same next question."""
    first = Search(Kind.MULTI, OVER)
    answers: list[tuple[Trial, bool]] = []
    for _ in range(12):
        for trial in first.wanted():
            answers.append((trial, trial.tokens <= 9_000))
            first.record(*answers[-1])
    again = Search(Kind.MULTI, OVER)
    for trial, right in reversed(answers):
        again.record(trial, right)
    assert again.wanted() == first.wanted()
    assert again.reach() == first.reach()


def test_the_bounds_are_wilsons() -> None:
    """Sixteen right answers of sixteen prove 85% and fifteen do not (one-sided 95%)."""
    assert Point(1, 16, 16).low == pytest.approx(16 / (16 + 1.6449**2))
    assert Point(1, 16, 16).low > 0.85 > Point(1, 15, 16).low
    assert (Point(1, 0, 0).low, Point(1, 0, 0).high) == (0.0, 1.0)


def test_depths_are_spread_evenly() -> None:
    """Each third of the text gets a third of the questions, however many there are."""
    for count in (12, 24, 48):
        thirds = [0, 0, 0]
        for number in range(count):
            thirds[min(2, int(Trial(Kind.LITERAL, 1_024, number).depth * 3))] += 1
        assert max(thirds) - min(thirds) <= 1
