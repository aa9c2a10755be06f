"""Whether one endpoint of a provider is worth asking just now.

Five failures in a row take it out for half a minute, and for longer each time it fails again
on its return; a 429 rests one model there for as long as it says; a refused credential rests
the endpoint that has it. An endpoint that rests is passed over where another can serve, and is
asked all the same where none can: nothing is refused here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FAILURES = 5
EJECT_S, LONGEST_S = 30.0, 300.0
REFUSED_S = 60.0  # a credential may have been replaced meanwhile
LIMITED_S = 5.0  # a 429 that names no time


@dataclass(slots=True)
class Health:
    """One endpoint's record; times are monotonic seconds."""

    failures: int = 0
    ejections: int = 0
    until: float = 0.0
    _cooling: dict[str, float] = field(default_factory=dict)

    def ready(self, model: str, now: float) -> bool:
        """Whether it may be asked for ``model``; after a rest one request finds out."""
        return now >= self.until and now >= self._cooling.get(model, 0.0)

    def back_at(self, model: str) -> float:
        """When it may be asked again."""
        return max(self.until, self._cooling.get(model, 0.0))

    def good(self, model: str) -> None:
        """It answered."""
        self.failures = self.ejections = 0
        if self._cooling:
            self._cooling.pop(model, None)

    def bad(self, now: float) -> None:
        """It failed, as opposed to refusing."""
        self.failures += 1
        if self.failures >= FAILURES:
            self.until = now + min(LONGEST_S, EJECT_S * 2.0**self.ejections)
            self.ejections = min(self.ejections + 1, 8)
            self.failures = FAILURES - 1  # on its return one failure is enough

    def limited(self, model: str, now: float, wait_s: float | None) -> None:
        """It asked to be left alone for this model."""
        self._cooling[model] = now + (LIMITED_S if wait_s is None else min(wait_s, LONGEST_S))

    def refused(self, now: float) -> None:
        """It does not know our credential."""
        self.until = now + REFUSED_S


def retry_after_s(value: str | None, milliseconds: str | None = None) -> float | None:
    """Seconds that a provider asks to wait; None where it says none, or says a date."""
    for text, scale in ((milliseconds, 1000.0), (value, 1.0)):
        try:
            seconds = float(text or "") / scale
        except ValueError:
            continue
        if 0 <= seconds < 1e9:
            return seconds
    return None
