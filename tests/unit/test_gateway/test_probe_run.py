"""A probe finds a planted effective context, within its budget, and goes on where it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from billing.money import nano
from billing.price import Price
from billing.prices import PriceBook
from compressor.tokens import load_counter
from gateway.probe_ask import Asker, ProbeFailed, Said, Target
from gateway.probe_run import (
    Journal,
    JournalMismatch,
    Probe,
    Purse,
    Row,
    Setup,
    cost_estimate,
    kinds_of,
)
from gateway.simulator import SimSettings, create_simulator
from router.probe import Range
from router.probe_tasks import Kind

PLANTED = {"literal": 20_000, "semantic": 5_600, "multi": 11_000}
OTHERS = (  # with wrong answers within the length, too
    {"literal": 1_700, "semantic": 9_000, "multi": 26_000},
    {"literal": 7_300, "semantic": 13_500, "multi": 2_600},
    {"literal": 30_000, "semantic": 3_300, "multi": 4_700},
)
NOISE = 0.03
COUNTER = load_counter("o200k_base")
OVER = Range(shortest=1_024, longest=32_768)
SETUP = Setup("sim-1", tuple(Kind), OVER, seed=1, max_output=128)


def price() -> Price:
    return PriceBook.bundled().price("openai", "gpt-4o-mini", datetime(2026, 11, 1, tzinfo=UTC))


def simulator(reads: Mapping[str, int], noise: float = 0.0) -> SimSettings:
    return SimSettings(reads=reads, noise=noise, encoding="cl100k_base")


def probe(
    folder: Path,
    budget: str | None = None,
    setup: Setup = SETUP,
    sim: SimSettings | None = None,
) -> tuple[Probe, Asker]:
    """A probe of the simulator over its real wire."""
    app = create_simulator(sim or simulator(PLANTED), lambda: 0.0)
    transport = httpx.ASGITransport(app=app)
    asker = Asker(Target("http://sim/v1", setup.model, api_key="k"), transport)
    journal = Journal(folder / "sim.jsonl", setup)
    purse = Purse(price(), None if budget is None else nano(budget))
    return Probe(setup, COUNTER, asker.ask, journal, purse), asker


async def finished(job: Probe, asker: Asker) -> bool:
    try:
        return await job.run()
    finally:
        await asker.close()


@pytest.mark.slow
async def test_a_planted_effective_context_is_found_within_a_tenth(tmp_path: Path) -> None:
    """Each kind's length is found in the provider's own tokens, though we count with others."""
    job, asker = probe(tmp_path)
    estimate = cost_estimate(SETUP, price())
    assert await finished(job, asker)
    for search in job.searches:
        planted = PLANTED[search.kind.value]
        assert 0.9 * planted <= search.reach().tokens <= 1.1 * planted, search.reach()
    assert 0 < job.purse.spent_nano < estimate[1] < estimate[2]
    assert job.purse.held_nano == 0


@pytest.mark.slow
@pytest.mark.parametrize("planted", OTHERS, ids=["short", "middle", "long"])
async def test_short_and_long_ones_are_found_through_noise(
    planted: Mapping[str, int], tmp_path: Path
) -> None:
    """Three wrong answers of a hundred within the length do not move what is found by a tenth."""
    job, asker = probe(tmp_path, sim=simulator(planted, NOISE))
    assert await finished(job, asker)
    for search in job.searches:
        reach = search.reach()
        print(search.kind.value, planted[search.kind.value], reach.tokens)
        assert 0.9 * planted[search.kind.value] <= reach.tokens <= 1.1 * planted[search.kind.value]


async def test_a_budget_is_never_broken_and_a_probe_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    """Stopped by its budget, the same probe with more asks only what is missing."""
    setup = Setup("sim-1", (Kind.SEMANTIC,), OVER, seed=1, max_output=128)
    job, asker = probe(tmp_path, "0.004", setup)
    assert not await finished(job, asker)
    spent, answered = job.purse.spent_nano, len(job.journal.rows)
    assert 0 < spent <= nano("0.004")
    more, asker = probe(tmp_path, "1.00", setup)
    assert more.purse.spent_nano == spent
    asked: list[Row] = []
    more.told = asked.append
    assert await finished(more, asker)
    assert len(asked) == len(more.journal.rows) - answered
    (tmp_path / "again").mkdir()
    whole, asker = probe(tmp_path / "again", None, setup)
    assert await finished(whole, asker)
    assert whole.searches[0].reach() == more.searches[0].reach()


async def test_stopped_by_hand_it_keeps_the_answers_and_what_the_open_questions_may_have_cost(
    tmp_path: Path,
) -> None:
    """The next run starts from every answer, and from money that may be gone without one."""
    setup = Setup("sim-1", (Kind.LITERAL,), OVER, seed=1, max_output=128)
    job, asker = probe(tmp_path, None, setup)
    answer = asker.ask

    async def slow_after_nine(prompt: str, max_output: int) -> Said:
        if len(job.journal.rows) >= 9:
            await asyncio.sleep(60)
        return await answer(prompt, max_output)

    job.ask = slow_after_nine
    running = asyncio.create_task(finished(job, asker))
    while len(job.journal.rows) < 9 or not job.purse.held_nano:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0.05)
    assert job.searches[0].reach().points[0].asked == len(job.journal.rows) >= 9
    assert job.journal.lost_nano > 0
    assert job.purse.held_nano == 0
    more, asker = probe(tmp_path, None, setup)
    assert more.purse.spent_nano == job.purse.spent_nano
    assert len(more.journal.rows) == len(job.journal.rows)
    await asker.close()


async def test_a_refused_question_costs_nothing(tmp_path: Path) -> None:
    """What a provider refused by its status is neither spent nor lost."""
    job, asker = probe(tmp_path)
    refusing = httpx.MockTransport(lambda _: httpx.Response(401, text="no such key"))
    refused = Asker(Target("http://sim/v1", "sim-1", api_key="k"), refusing)
    job.ask = refused.ask
    with pytest.raises(ProbeFailed, match="401: no such key"):
        await finished(job, refused)
    await asyncio.sleep(0.05)
    assert (job.purse.spent_nano, job.journal.lost_nano) == (0, 0)
    await asker.close()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A stray file is named, not read."""
    (tmp_path / "j.jsonl").write_text("notes\n")
    with pytest.raises(JournalMismatch, match="first line"):
        Journal(tmp_path / "j.jsonl", SETUP)


def test_a_journal_of_another_probe_is_refused(tmp_path: Path) -> None:
    """Answers to other questions are never mixed in; a torn last line spoils no other."""
    path = tmp_path / "j.jsonl"
    journal = Journal(path, SETUP)
    row = Row("literal", 1_024, 0, right=True, counted=1_000, prompt_tokens=1, completion_tokens=1,
              cost_nano=5)  # fmt: skip
    journal.add(row)
    with path.open("a") as out:
        out.write('{"kind": "lit')
    again = Journal(path, SETUP)
    assert list(again.rows.values()) == [row]
    more = replace(row, number=1)
    again.add(more)
    assert list(Journal(path, SETUP).rows.values()) == [row, more]
    with pytest.raises(JournalMismatch, match="seed"):
        Journal(path, Setup("sim-1", tuple(Kind), OVER, seed=2, max_output=128))


def test_kinds_are_named_in_any_order_and_unknown_ones_refused() -> None:
    """The message says which there are."""
    assert kinds_of(["multi", "literal", "multi"]) == (Kind.MULTI, Kind.LITERAL)
    with pytest.raises(ValueError, match="literal, semantic, multi"):
        kinds_of(["vibes"])


def test_the_estimate_leaves_out_what_is_answered(tmp_path: Path) -> None:
    """A probe that goes on costs less than one that starts."""
    rows = {
        row.trial: row for number in range(64) for row in [Row("literal", 1_024, number, *(1,) * 5)]
    }
    fresh, going_on = cost_estimate(SETUP, price()), cost_estimate(SETUP, price(), rows)
    assert fresh[0] - going_on[0] == 64 * 1_024
