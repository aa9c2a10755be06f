"""What is summed ahead of time: which labels, over which spans, which figures.

A **cube** is one choice of labels. For each combination of them (a **facet**) and each
bucket of time there is one row of sums. Buckets of the narrowest width are summed from
receipts, wider ones from narrower, so that any range is a few wide buckets, some narrower
ones at its ends, and less than one narrow bucket of receipts. All widths divide one another
and count from the epoch: a quarter of an hour is the finest offset any time zone has had for
half a century, so local days are whole buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

QUARTER_MS, HOUR_MS, DAY_MS = 900_000, 3_600_000, 86_400_000
BLOCK_MS = 32 * DAY_MS
"""The widest bucket: about a month, without asking a calendar."""
_EVER_MS = (1 << 46) // BLOCK_MS * BLOCK_MS

DIMENSIONS = (
    "team", "project", "key", "user", "requested_model", "served_model", "tier", "upstream",
    "action", "arm", "state", "usage_source", "has_session", "has_task",
)  # fmt: skip
LABEL_SQL = {
    "has_session": "CASE WHEN session_key IS NULL THEN '' ELSE '1' END",
    "has_task": "CASE WHEN task IS NULL THEN '' ELSE '1' END",
}
"""Labels that are not a column of receipts: "1", or "" for none."""

_PLAIN = (
    "original_prompt_tokens", "sent_prompt_tokens", "prompt_tokens", "completion_tokens",
    "cached_tokens", "effective_tokens", "cost_nano", "gateway_cost_nano", "waste_nano",
)  # fmt: skip
SESSION_SUMS = {
    "requests": "1",
    **{name: name for name in _PLAIN},
    "baseline_nano": "COALESCE(baseline_nano, 0)",
    "compared_nano": "CASE WHEN baseline_nano IS NULL THEN 0 ELSE cost_nano END",
    "infeasible": "CASE WHEN baseline_nano IS NULL THEN 1 ELSE 0 END",
    "estimated": "CASE WHEN usage_source = 'estimated' THEN 1 ELSE 0 END",
}
"""Each figure of a report's row, and what one receipt adds to it."""
SUMS = {
    **SESSION_SUMS,
    "saved_trim_nano": "COALESCE(saved_trim_nano, 0)",
    "saved_model_nano": "COALESCE(saved_model_nano, 0)",
    "saved_cache_nano": "COALESCE(saved_cache_nano, 0)",
    "saved_retries_nano": "COALESCE(saved_retries_nano, 0)",
    "parted_gateway_nano": "CASE WHEN saved_trim_nano IS NULL THEN 0 ELSE gateway_cost_nano END",
}
"""The same, and the savings by cause; the last is the gateway's cost where there is a split."""


@dataclass(frozen=True, slots=True)
class Cube:
    """Labels that are summed by together, and the widths of its buckets, widest first."""

    number: int
    labels: tuple[str, ...]
    widths: tuple[int, ...]


_FINE, _COARSE = (BLOCK_MS, DAY_MS, QUARTER_MS), (BLOCK_MS, DAY_MS, HOUR_MS)
_HAS = tuple(LABEL_SQL)
WHO = Cube(4, ("team", "project", "key", "user", "served_model", "arm", *_HAS), _COARSE)
"""The only one that knows users."""
PEOPLE = Cube(5, ("team", "project", "key", "user", "arm"), (HOUR_MS,))
MODELS = Cube(6, (*PEOPLE.labels, "served_model"), (HOUR_MS,))
BY_SESSION = (PEOPLE, MODELS)
"""Sessions alone are summed by these: once without the model, once with it, which is longer."""
CUBES = (
    Cube(1, (), _FINE),
    Cube(2, ("team", "served_model", *_HAS), _FINE),
    Cube(3, tuple(name for name in DIMENSIONS if name != "user"), _COARSE),
    WHO,
)
"""The smallest first: a question is answered from the first that knows its labels."""


def cube_of(labels: Iterable[str], finest_ms: int = HOUR_MS) -> Cube | None:
    """The smallest cube that knows some labels, with buckets no wider than that; or None."""
    wanted = set(labels)
    for cube in CUBES:
        if wanted <= set(cube.labels) and cube.widths[-1] <= finest_ms:
            return cube
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a range: buckets of a width, or receipts where that is 0. Milliseconds."""

    width_ms: int
    start_ms: int
    end_ms: int

    @property
    def buckets(self) -> tuple[int, int]:
        """The first bucket and the one after the last."""
        return self.start_ms // self.width_ms, self.end_ms // self.width_ms


def parts(start_ms: int | None, end_ms: int | None, widths: Sequence[int]) -> Iterator[Part]:
    """A range cut into whole buckets, as wide as can be, and receipts at its ends."""
    yield from _cut(start_ms or 0, _EVER_MS if end_ms is None else min(end_ms, _EVER_MS), widths)


def _cut(start: int, end: int, widths: Sequence[int]) -> Iterator[Part]:
    if start >= end:
        return
    if not widths:
        yield Part(0, start, end)
        return
    width, narrower = widths[0], widths[1:]
    first, last = -(-start // width) * width, end // width * width
    if first >= last:
        yield from _cut(start, end, narrower)
        return
    yield from _cut(start, first, narrower)
    yield Part(width, first, last)
    yield from _cut(last, end, narrower)
