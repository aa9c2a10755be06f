"""The simulated reader knows every answer up to its length, and slips beyond it."""

from __future__ import annotations

import pytest

from compressor.tokens import load_counter
from gateway.simulator_reader import answer_from_notes
from router.probe_tasks import Kind, Trial, make_task

COUNTER = load_counter("o200k_base")


@pytest.mark.parametrize("kind", list(Kind), ids=[kind.value for kind in Kind])
def test_it_answers_right_within_its_length_and_worse_beyond(kind: Kind) -> None:
    """All right up to the length, most wrong at 1.7 times it, all wrong at twice."""
    tasks = [make_task(Trial(kind, 1_024, number), 1, COUNTER, 1.0) for number in range(40)]
    right = {
        reach: sum(
            task.right(answer_from_notes(task.prompt, 1_000, {kind.value: reach}) or "")
            for task in tasks
        )
        for reach in (1_000, 600, 500)
    }
    assert right[1_000] == 40
    assert 2 <= right[600] <= 18
    assert right[500] == 0


def test_noise_is_a_share_of_wrong_answers_at_any_length() -> None:
    """A fifth of the answers is wrong within the planted length, and without one."""
    tasks = [make_task(Trial(Kind.LITERAL, 512, number), 1, COUNTER, 1.0) for number in range(200)]
    for reads in ({"literal": 1_000}, {}):
        right = sum(
            task.right(answer_from_notes(task.prompt, 500, reads, 0.2) or "") for task in tasks
        )
        assert 145 <= right <= 175


def test_other_prompts_are_none_of_its_business() -> None:
    """What is no question of a probe is answered by the simulator as ever."""
    assert answer_from_notes("What is the entry code of the shed?", 10, {"literal": 5}) is None
