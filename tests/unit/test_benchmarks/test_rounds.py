"""Figures and ratios of the comparison with other gateways."""

from __future__ import annotations

import json

import pytest

from benchmarks._rounds import (
    DIRECT,
    OURS,
    Cell,
    Rounds,
    cell,
    figure,
    ratio_table,
    ratios,
    results_table,
    rps_per_core,
)

SMALL = Cell(1024, 64)
STREAM = Cell(1024, 100, stream=True)


def measured(cpu_us: float, p50: float, p99: float = 9.0) -> dict[str, float]:
    """One round of one gateway."""
    times = {"p50": p50, "p99": p99, "ttfb_p50": p50, "ttfb_p99": p99}
    return {"rps": 1e6 / cpu_us, "requests": 100.0, "cpu_us": cpu_us, **times}


@pytest.fixture
def rounds() -> Rounds:
    """Two rounds: the peer needs ten times as much CPU in one, twenty in the other."""
    found = Rounds()
    for load in (SMALL, STREAM):
        for ours, theirs in ((100.0, 1_000.0), (50.0, 1_000.0)):
            found.add(load, DIRECT, measured(float("nan"), 1.0, 2.0))
            found.add(load, OURS, measured(ours, 2.0, 4.0))
            found.add(load, "peer", measured(theirs, 5.0, 12.0))
    return found


def test_a_ratio_is_made_round_by_round(rounds: Rounds) -> None:
    """The median, least and greatest are of the ratios of single rounds, not of the medians."""
    found = rps_per_core(rounds, SMALL, "peer")
    assert found is not None
    assert (found.low, found.median, found.high) == (10.0, 15.0, 20.0)


def test_added_latency_is_what_lies_above_a_direct_call(rounds: Rounds) -> None:
    """A ratio of latencies is one of what each gateway adds, not of what a client waits."""
    assert rounds.added(SMALL, "peer", "p50") == [4.0, 4.0]
    found = rounds.ratio(SMALL, "peer", "p50")
    assert found is not None
    assert found.median == 4.0  # (5 - 1) / (2 - 1)


def test_what_lies_within_the_noise_has_no_ratio(rounds: Rounds) -> None:
    """Where we seem to add nothing, no ratio is said, however good it would look."""
    rounds.add(Cell(1024, 1), DIRECT, measured(1.0, 3.0))
    rounds.add(Cell(1024, 1), OURS, measured(100.0, 3.0))
    rounds.add(Cell(1024, 1), "peer", measured(100.0, 9.0))
    assert rounds.ratio(Cell(1024, 1), "peer", "p50") is None


def test_a_peer_that_failed_is_forgotten_whole(rounds: Rounds) -> None:
    """No figure of a peer that failed half way is left, under that load or under all."""
    rounds.drop("peer", STREAM)
    assert rounds.has(SMALL, "peer")
    assert not rounds.has(STREAM, "peer")
    rounds.drop("peer")
    assert rps_per_core(rounds, SMALL, "peer") is None
    assert ratios(rounds, [SMALL, STREAM], ["peer"]) == {"peer": {}}
    assert all(row["target"] != "peer" for row in rounds.plain())


def test_json_has_first_bytes_for_streams_alone(rounds: Rounds) -> None:
    """All ratios go into JSON, with their spread; whole answers have no time to first byte."""
    found = json.loads(json.dumps(ratios(rounds, [SMALL, STREAM], ["peer"])))["peer"]
    assert set(found[str(SMALL)]) == {"cpu_us", "p50", "p99"}
    assert set(found[str(STREAM)]) == {"cpu_us", "p50", "p99", "ttfb_p50", "ttfb_p99"}
    assert found[str(SMALL)]["cpu_us"] == {"min": 10.0, "median": 15.0, "max": 20.0}


def test_the_tables_hold_each_gateway_once_a_load(rounds: Rounds) -> None:
    """A gateway that was not measured under a load has no row of it."""
    rounds.add(Cell(1024, 1), DIRECT, measured(1.0, 1.0))
    cells = [SMALL, STREAM, Cell(1024, 1)]
    assert results_table(rounds, cells, [OURS, "peer"], 50).row_count == 4
    assert ratio_table(rounds, cells, ["peer"]).row_count == 2


def test_a_figure_of_nothing_is_none() -> None:
    """No value, or one that is no number, makes no figure."""
    assert figure([]) is None
    assert figure([1.0, float("nan")]) is None
    found = figure([3.0, 1.0, 2.0])
    assert found is not None
    assert found.text(0, "x") == "2x (1-3)"


@pytest.mark.parametrize(
    ("text", "load"), [("1:64", SMALL), ("1:100:stream", STREAM), ("512:8", Cell(524_288, 8))]
)
def test_a_load_is_read_from_the_command_line(text: str, load: Cell) -> None:
    """KB, connections and the word stream make a load."""
    assert cell(text) == load


@pytest.mark.parametrize("text", ["1", "1:2:whole", "a:b"])
def test_another_load_is_refused(text: str) -> None:
    """What is no load is a ValueError, which the command line turns into its usage."""
    with pytest.raises(ValueError, match=r"."):
        cell(text)
