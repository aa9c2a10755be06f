"""Past spend, as budget windows need it: fine where a window slides, whole where it does not.

A calendar window needs one sum since it began; a sliding one needs to know when each part
leaves it. Sums come from roll-ups where they reach, from receipts elsewhere. A window longer
than two days that slides is read by the hour, each hour as of its end, so that it forgets
spend up to an hour late and never early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from billing.accounts import Accounts
from billing.budget import Span, window_at
from billing.counters import Spend, path_of
from billing.rollup import ROLLED
from billing.rollup_shape import DAY_MS, HOUR_MS, WHO, Part, parts
from billing.store_rows import Whose

Ask = Callable[[str, Sequence[str]], Sequence[Sequence[Any]]]
"""Rows of a query with ``?`` for each value; all on one state of the database."""

_MINUTE_MS = 60_000
_FINE_SPAN_MS = 2 * DAY_MS
_WHOLE_MS = 1 << 50
"""A bucket that everything is in."""
_WHO = 'team, project, "key", "user"'


@dataclass(frozen=True, slots=True)
class Look:
    """How to look back, epoch milliseconds: where windows begin, from when on spend is needed
    by the hour, and from when on by ``bucket_ms`` (None: not at all); ``at_ms`` is now.
    """

    at_ms: int
    begins: tuple[int, ...]
    hourly_ms: int | None
    fine_ms: int | None
    bucket_ms: int

    def segments(self) -> Iterator[tuple[int, int | None, int]]:
        """(start, end or None, resolution): no window begins inside one."""
        points = sorted({*self.begins, *(p for p in (self.hourly_ms, self.fine_ms) if p)})
        for start, end in pairwise([*points, None]):
            if start is None:
                return
            if self.fine_ms is not None and start >= self.fine_ms:
                yield start, end, self.bucket_ms
            elif self.hourly_ms is not None and start >= self.hourly_ms:
                yield start, end, HOUR_MS
            else:
                yield start, end, _WHOLE_MS


def look_back(accounts: Accounts, at_ms: int) -> Look:
    """All that the budgets and ladders of a tree need to know of the past at an instant."""
    begins: set[int] = set()
    fine: list[int] = []
    hourly: list[int] = []
    for node in accounts.nodes.values():
        burn = node.ladder.burn_span_ms if node.ladder else 0
        if burn:
            fine.append(at_ms - burn - _MINUTE_MS)
        for budget in node.budgets:
            start = window_at(budget, at_ms, node.zone).start_ms
            if budget.span is Span.REQUEST:
                continue
            if budget.span is not Span.ROLLING:
                begins.add(start)
            elif budget.rolling_ms <= _FINE_SPAN_MS:
                fine.append(start)
            else:
                hourly.append(start)
    bucket = min(_MINUTE_MS, accounts.finest_ms)
    return Look(at_ms, tuple(begins), min(hourly, default=None), min(fine, default=None), bucket)


def spends(ask: Ask, look: Look, whose: Whose | None = None) -> list[Spend]:
    """Cost by key, user and time; of all writers, or of some.

    Spend of others than some is all less theirs: roll-ups do not know who wrote.
    """
    whose = whose or Whose()
    found: list[Spend] = []
    done = ask(ROLLED, ())
    rolled = int(done[0][0]) if done else 0
    for start, end, size in look.segments():
        until = _WHOLE_MS if end is None else end
        if whose.only is not None:
            found += _posted(ask, start, until, size, Whose(only=whose.only).where("?"))
            continue
        found += _all(ask, Part(size, start, until), rolled, look.at_ms)
        for writer in sorted(whose.without):
            theirs = _posted(ask, start, until, size, Whose(only=writer).where("?"))
            found += [Spend(s.path, s.user, s.at_ms, -s.amount_nano) for s in theirs]
    return found


def _all(ask: Ask, segment: Part, rolled: int, latest: int) -> Iterator[Spend]:
    size, start, end = segment.width_ms, segment.start_ms, segment.end_ms
    if not rolled or size < HOUR_MS:
        yield from _posted(ask, start, end, size)
        return
    widths = WHO.widths if size > HOUR_MS else (HOUR_MS,)
    narrow = min(size, _MINUTE_MS) if size == HOUR_MS else size
    for part in parts(start, end, widths):
        if part.width_ms:
            yield from _rolled(ask, part, None if size == HOUR_MS else start, latest)
        else:
            where = f" AND seq <= {rolled}"
            yield from _posted(ask, part.start_ms, part.end_ms, narrow, (where, []))
    yield from _posted(ask, start, end, narrow, (f" AND seq > {rolled}", []))


def _posted(
    ask: Ask, start: int, end: int, size: int, more: tuple[str, list[str]] = ("", [])
) -> Iterator[Spend]:
    # What is not rolled up yet is found by its number: the index on time would be slower.
    posted = "posted_ms + 0" if "seq >" in more[0] else "posted_ms"
    query = (
        f"SELECT {_WHO}, posted_ms / {size} AS bucket, MIN(posted_ms), SUM(cost_nano) "  # noqa: S608 - numbers and marks
        f"FROM receipts WHERE {posted} >= {start} AND {posted} < {end}{more[0]} "
        f"GROUP BY {_WHO}, bucket"
    )
    for team, project, key, user, _, at_ms, amount in ask(query, more[1]):
        yield Spend(path_of(team, project, key), user, int(at_ms), int(amount))


def _rolled(ask: Ask, part: Part, start: int | None, latest: int) -> Iterator[Spend]:
    """Roll-ups as of ``start``, or, where that is None, as of each hour's end, <= latest."""
    first, last = part.buckets
    bucket = "r.bucket" if start is None else "0"
    query = (
        f"SELECT {_WHO}, {bucket} AS hour, SUM(r.cost_nano) FROM rollups r "  # noqa: S608 - numbers
        f"JOIN facets f ON f.id = r.facet WHERE r.cube = {WHO.number} "
        f"AND r.width_ms = {part.width_ms} AND r.bucket >= {first} AND r.bucket < {last} "
        f"GROUP BY {_WHO}, hour"
    )
    for team, project, key, user, hour, amount in ask(query, ()):
        at_ms = min((int(hour) + 1) * HOUR_MS - 1, latest) if start is None else start
        yield Spend(path_of(team, project or None, key), user or None, at_ms, int(amount))
