"""What rounds of measurements say: figures with their spread, ratios round by round. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

from rich.table import Table

OURS, DIRECT = "weir", "direct"
# What a ratio is made of, and whether it is the part beyond a direct call.
RATIOS = {
    "cpu_us": False,
    "p50": True,
    "p99": True,
    "ttfb_p50": True,
    "ttfb_p99": True,
}
Measured = dict[str, float]


@dataclass(frozen=True)
class Cell:
    """One load: body size in bytes, connections at once, streamed or not."""

    size: int
    connections: int
    stream: bool = False

    def __str__(self) -> str:
        sort = "stream" if self.stream else "whole"
        return f"{self.size // 1024} KB, {self.connections} conn, {sort}"


def cell(text: str) -> Cell:
    """``1:64`` or ``32:8:stream`` as a load."""
    size, connections, *stream = text.split(":")
    if stream not in ([], ["stream"]):
        raise ValueError(text)
    return Cell(int(size) * 1024, int(connections), bool(stream))


@dataclass(frozen=True)
class Figure:
    """A median over rounds with its least and greatest."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 1, suffix: str = "") -> str:
        """``12.3 (11.9-12.8)``; the spread is left out when nothing spreads."""
        middle = f"{self.median:,.{digits}f}{suffix}"
        if self.low == self.high:
            return middle
        return f"{middle} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"

    def plain(self) -> dict[str, float]:
        """For JSON."""
        return {"min": self.low, "median": self.median, "max": self.high}


def figure(values: Sequence[float]) -> Figure | None:
    """The figure of one value a round; None where a round has none."""
    if not values or not all(math.isfinite(value) for value in values):
        return None
    return Figure(statistics.median(values), min(values), max(values))


class Rounds:
    """All that was measured: by cell and target, one ``Measured`` a round."""

    def __init__(self) -> None:
        self._found: dict[tuple[Cell, str], list[Measured]] = {}

    def add(self, cell: Cell, target: str, measured: Measured) -> None:
        """Keep one round's result."""
        self._found.setdefault((cell, target), []).append(measured)

    def drop(self, target: str, load: Cell | None = None) -> None:
        """Forget a target, or it under one load: half of its figures would look like all."""
        self._found = {
            (cell, name): found
            for (cell, name), found in self._found.items()
            if name != target or load not in (None, cell)
        }

    def has(self, cell: Cell, target: str) -> bool:
        """Whether the target was measured under this load."""
        return (cell, target) in self._found

    def values(self, cell: Cell, target: str, read: Callable[[Measured], float]) -> list[float]:
        """One value a round."""
        return [read(measured) for measured in self._found.get((cell, target), ())]

    def added(self, cell: Cell, target: str, name: str) -> list[float]:
        """``name`` beyond the direct call of the same round, milliseconds."""
        direct = self.values(cell, DIRECT, itemgetter(name))
        theirs = self.values(cell, target, itemgetter(name))
        return [mine - base for mine, base in zip(theirs, direct, strict=False)]

    def ratio(self, cell: Cell, target: str, name: str) -> Figure | None:
        """How many times as much as we ``target`` needs, round by round; None: not to be said."""
        if RATIOS[name]:
            theirs, ours = (self.added(cell, one, name) for one in (target, OURS))
        else:
            theirs, ours = (self.values(cell, one, itemgetter(name)) for one in (target, OURS))
        if any(value <= 0 for value in ours):
            return None
        return figure([a / b for a, b in zip(theirs, ours, strict=False)])

    def plain(self) -> list[dict[str, Any]]:
        """Everything, for JSON."""
        return [
            {"load": str(cell), "cell": asdict(cell), "target": target, "rounds": rounds}
            for (cell, target), rounds in self._found.items()
        ]


def ratios(rounds: Rounds, cells: Sequence[Cell], peers: Sequence[str]) -> dict[str, Any]:
    """By peer, load and figure: how many times as much as we; requests/s a core among them."""
    found: dict[str, Any] = {}
    for peer in peers:
        found[peer] = {}
        for cell in cells:
            if not rounds.has(cell, peer):
                continue
            named = {name: rounds.ratio(cell, peer, name) for name in RATIOS}
            if not cell.stream:
                named = {k: v for k, v in named.items() if not k.startswith("ttfb")}
            found[peer][str(cell)] = {k: v.plain() if v else None for k, v in named.items()}
    return found


def rps_per_core(rounds: Rounds, cell: Cell, peer: str) -> Figure | None:
    """How many times as many requests a second of CPU as ``peer``: its CPU over ours."""
    return rounds.ratio(cell, peer, "cpu_us")


def cell_rows(
    rounds: Rounds, cell: Cell, names: Sequence[str], chunks: int
) -> Iterator[tuple[str, ...]]:
    """A table row a gateway: added latency, requests/s, CPU a request."""

    def text(values: list[float], digits: int) -> str:
        found = figure(values)
        return f"{found.median:,.{digits}f}" if found else "-"

    for name in names:
        cpu = figure(rounds.values(cell, name, itemgetter("cpu_us")))
        if cpu is None:
            continue
        row = [text(rounds.added(cell, name, which), 2) for which in ("p50", "p99")]
        row.append(text(rounds.values(cell, name, itemgetter("rps")), 0))
        row += [cpu.text(0), f"{1e6 / cpu.median:,.0f}" if cpu.median else "-"]
        if cell.stream:
            for key in ("ttfb_p50", "ttfb_p99"):
                row.append(text(rounds.values(cell, name, itemgetter(key)), 1))
            row.append(f"{cpu.median / (chunks + 2):,.0f}")
        yield (str(cell), name, *row)


def results_table(
    rounds: Rounds, cells: Sequence[Cell], names: Sequence[str], chunks: int
) -> Table:
    """Every cell, every gateway."""
    table = Table(title="Added to a direct call (median of rounds; CPU: least-greatest)")
    for heading in ("load", "gateway"):
        table.add_column(heading, no_wrap=True)
    for heading in (
        "added\np50 ms",
        "added\np99 ms",
        "requests\na second",
        "CPU us\na request",
        "requests/s\na core",
        "TTFB\np50 ms",
        "TTFB\np99 ms",
        "CPU us\na chunk",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in cells:
        for row in cell_rows(rounds, cell, names, chunks):
            table.add_row(*row)
        table.add_section()
    return table


def ratio_table(rounds: Rounds, cells: Sequence[Cell], peers: Sequence[str]) -> Table:
    """Every peer over us, round by round: above 1 it needs more than we do."""
    table = Table(title="Peer / weir, same run: how many times as much (median, least-greatest)")
    for heading in ("load", "peer"):
        table.add_column(heading, no_wrap=True)
    for heading in ("CPU a request", "added p50", "added p99", "added TTFB p50", "TTFB p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cell in cells:
        for peer in peers:
            if not rounds.has(cell, peer):
                continue
            row = []
            for name in RATIOS:
                found = rounds.ratio(cell, peer, name)
                row.append(found.text(2, "x") if found else "within the noise")
            table.add_row(str(cell), peer, *(row if cell.stream else [*row[:3], "", ""]))
        table.add_section()
    return table
