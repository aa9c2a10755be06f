"""Asking the same model again: how often, how soon, and never so much that it makes it worse.

Only what failed before anything can have been billed is asked again at the same place. All
retries of the process share a budget, a fifth of what is in flight: a provider in trouble is
not met with more traffic. The wait is the provider's own word where it gives one, else random
within a doubling bound (tenacity's).
"""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import RetryCallState, wait_random_exponential

SHARE, FLOOR = 0.2, 10
LONGEST_WAIT_S = 5.0
"""A provider that asks for more is not waited for: another candidate is tried, or the client."""
_WAIT = wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_S)


@dataclass(slots=True)
class RetryBudget:
    """Retries under way in this process."""

    running: int = 0

    def take(self, inside: int) -> bool:
        """Count one in, if ``inside`` requests in flight leave room for it."""
        if self.running >= max(FLOOR, int(inside * SHARE)):
            return False
        self.running += 1
        return True

    def give(self) -> None:
        """Count one out."""
        self.running -= 1


def wait_s(number: int, asked_s: float | None) -> float | None:
    """Seconds before retry ``number`` (1 is the first); None: not worth waiting for."""
    if asked_s is not None:
        return asked_s if asked_s <= LONGEST_WAIT_S else None
    state = RetryCallState(None, None, (), {})  # type: ignore[arg-type]  # only its number is read
    state.attempt_number = number
    return _WAIT(state)
