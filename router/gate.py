"""Whether changing requests has paid: realised savings of each conversation and team.

Expected savings are a promise; the bill is what counts. Once a conversation was changed
(another model, another prompt), the difference between its baseline and its cost is summed
from then on, since a changed prefix costs in later turns, too. Where the sum is negative
the lever that was used is left alone: in a conversation for good, in a team for a while.
Integer nano-USD; the instant is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.record import record

REWRITE, SWITCH = "rewrite", "switch"
LEVERS = (REWRITE, SWITCH)
# Changed requests before a conversation is judged. A rewrite is an outlay: its first request
# reads the new prompt at the full price, and later turns pay it back.
LEAST_CHANGED = {REWRITE: 8, SWITCH: 2}
TEAM_CHANGED = 30
TOLERATED = 0.02  # of the baseline: below it a loss is noise
PAUSE_MS = 6 * 3_600_000  # a team's lever is tried again after it
FADES = 0.995


@dataclass(slots=True)
class Tally:
    """Saved and baseline, nano-USD, over so many changed requests; ``until_ms`` of a pause."""

    saved_nano: float = 0.0
    baseline_nano: float = 0.0
    changed: float = 0.0
    until_ms: int = 0

    def loses(self, least: int) -> bool:
        """Whether it has cost more than it saved, by more than noise."""
        lost = -self.saved_nano
        return self.changed >= least and lost > 0 and lost > TOLERATED * self.baseline_nano


@dataclass(slots=True)
class _Conversation:
    levers: dict[str, Tally] = field(default_factory=dict)


@record(frozen=True, slots=True)
class Realised:
    """One settled request: the lever used on it ("" for none), what it cost and would have.

    ``conversation`` names it within its key; the baseline is the tokenmaxxed one.
    """

    conversation: str
    team: str
    lever: str
    baseline_nano: int
    cost_nano: int
    at_ms: int


class SavingsBook:
    """Realised savings by conversation and team; the oldest conversation is forgotten first."""

    def __init__(self, limit: int = 65_536) -> None:
        self._limit = limit
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()
        self._teams: dict[tuple[str, str], Tally] = {}

    def note(self, done: Realised) -> tuple[str, ...]:
        """A request is counted where it belongs; the scopes that were switched off by it."""
        known = self._conversations.get(done.conversation)
        if known is None:
            if not done.lever:
                return ()  # nothing was changed here yet, so nothing can be due to a change
            known = _Conversation()
        self._conversations[done.conversation] = known
        self._conversations.move_to_end(done.conversation)
        while len(self._conversations) > self._limit:
            self._conversations.popitem(last=False)  # a plain dict would search past what it lost
        if done.lever:
            known.levers.setdefault(done.lever, Tally())
        off: list[str] = []
        saved = done.baseline_nano - done.cost_nano
        for lever, tally in known.levers.items():
            if lever == done.lever or not done.lever:
                was = tally.loses(LEAST_CHANGED[lever])
                tally.changed += done.lever == lever
                tally.saved_nano += saved
                tally.baseline_nano += done.baseline_nano
                if tally.loses(LEAST_CHANGED[lever]) and not was:
                    off.append(f"session:{lever}")
                if self._team(done, lever, saved):
                    off.append(f"team:{lever}")
        return tuple(off)

    def _team(self, done: Realised, lever: str, saved: int) -> bool:
        """Whether a team's lever goes off with this request."""
        tally = self._teams.setdefault((done.team, lever), Tally())
        if done.at_ms < tally.until_ms:
            return False
        if tally.until_ms:  # the pause is over: from nothing again
            tally = self._teams[done.team, lever] = Tally()
        tally.saved_nano = tally.saved_nano * FADES + saved
        tally.baseline_nano = tally.baseline_nano * FADES + done.baseline_nano
        tally.changed = tally.changed * FADES + (done.lever == lever)
        if not tally.loses(TEAM_CHANGED):
            return False
        self._teams[done.team, lever] = Tally(tally.saved_nano, until_ms=done.at_ms + PAUSE_MS)
        return True

    def off(self, conversation: str, team: str, at_ms: int) -> Mapping[str, str]:
        """The levers that are left alone here, each with the scope that lost by it."""
        found: dict[str, str] = {}
        for lever in LEVERS:
            tally = self._teams.get((team, lever))
            if tally is not None and at_ms < tally.until_ms:
                found[lever] = "team"
        known = self._conversations.get(conversation)
        if known is not None:
            for lever, tally in known.levers.items():
                if tally.loses(LEAST_CHANGED[lever]):
                    found[lever] = "session"
        return found

    def saved_nano(self, conversation: str) -> int:
        """What a conversation has saved since it was first changed; negative: lost."""
        known = self._conversations.get(conversation)
        return int(sum(tally.saved_nano for tally in known.levers.values())) if known else 0
