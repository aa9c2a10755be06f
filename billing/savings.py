"""Savings, measured: a randomised holdout says how wrong the counterfactual is.

A share of sessions passes untouched (the holdout H): there the truth T is paid, and the
counterfactual T^ of the same requests is known. On the routed sessions R only T^ exists.

    kappa = sum_H T / sum_H T^        T* = kappa * sum_R T^        S = T* - sum_R C

The session is the unit. V_H is the jackknife variance of kappa; V_R the residual variance
of the routed sum. The interval is S +- t * sqrt(V_H + V_R) * sum_R T^ with n_eff - 1
degrees of freedom. It is *measured* only with enough sessions and a narrow interval, else
*estimated*. Pure. Sums of money are exact integers; statistics, which are estimates by
nature, are floats and never posted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

MEASURED_SESSIONS = 30
MEASURED_WIDTH = 0.15
CLEAN_DELTA = 0.02
_CONFIDENCE = 0.975


class Badge(StrEnum):
    """How far a figure may be trusted."""

    MEASURED = "measured"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Session:
    """One session's sums, nano-USD: paid (all providers and gateway calls), tokenmaxxed.

    ``accepted`` is whether its outcome was, None where nobody said.
    """

    paid_nano: int
    tokenmaxxed_nano: int
    accepted: bool | None = None


@dataclass(frozen=True, slots=True)
class Moments:
    """All that is asked of many sessions: how many, their sums, and ``squares``, the sum of
    the squares of what each would have cost (nano-USD^2). ``known`` have an outcome.
    """

    count: int = 0
    paid_nano: int = 0
    tokenmaxxed_nano: int = 0
    squares: int = 0
    known: int = 0
    accepted: int = 0

    @classmethod
    def of(cls, sessions: Iterable[Session]) -> Moments:
        """The moments of some sessions."""
        some = list(sessions)
        return cls(
            len(some),
            sum(one.paid_nano for one in some),
            sum(one.tokenmaxxed_nano for one in some),
            sum(one.tokenmaxxed_nano**2 for one in some),
            sum(one.accepted is not None for one in some),
            sum(one.accepted is True for one in some),
        )

    def plus(self, sessions: Iterable[Session], sign: int = 1) -> Moments:
        """The same with further sessions in it; with ``sign`` -1, without them."""
        more = Moments.of(sessions)
        return Moments(
            self.count + sign * more.count,
            self.paid_nano + sign * more.paid_nano,
            self.tokenmaxxed_nano + sign * more.tokenmaxxed_nano,
            self.squares + sign * more.squares,
            self.known + sign * more.known,
            self.accepted + sign * more.accepted,
        )

    def less(self, sessions: Iterable[Session]) -> Moments:
        """The same without sessions that are in it."""
        return self.plus(sessions, -1)

    @property
    def rate(self) -> float | None:
        """The accepted share of those whose outcome is known; None where none is."""
        return self.accepted / self.known if self.known else None


@dataclass(frozen=True, slots=True)
class Spread:
    """Where an interval comes from: V_H, V_R, the quantile, and sum_R T^ that V_R is of."""

    of_kappa: float
    of_routed: float
    quantile: float
    routed_nano: int

    def half_of(self, part_nano: int) -> int:
        """Half of the 95% interval of a part of the routed sum, nano-USD.

        A part is taken to be of sessions like all of them: V_R grows as the part shrinks.
        Of the whole it is the half of the whole's own interval.
        """
        if not part_nano or not self.routed_nano:
            return 0
        of_part = self.of_routed * self.routed_nano / part_nano
        return round(self.quantile * math.sqrt(self.of_kappa + of_part) * part_nano)


@dataclass(frozen=True, slots=True)
class Savings:
    """What routing saved on the routed sessions, nano-USD.

    ``tokenmaxxed_nano`` is T*, corrected by ``kappa`` (1 where nothing was held out; then
    the interval is None). ``low_nano`` and ``high_nano`` bound S with 95% confidence.
    """

    paid_nano: int
    tokenmaxxed_nano: int
    saved_nano: int
    low_nano: int | None
    high_nano: int | None
    kappa: float
    n_eff: float
    holdout_sessions: int
    routed_sessions: int
    badge: Badge
    spread: Spread | None = None

    @property
    def share(self) -> float:
        """Saved share of the tokenmaxxed cost; 0 where that is nothing."""
        return self.saved_nano / self.tokenmaxxed_nano if self.tokenmaxxed_nano else 0.0


def measure(holdout: Sequence[Session], routed: Sequence[Session] | Moments) -> Savings:
    """Savings of the routed sessions, corrected by what the holdout really cost.

    Sessions without any counterfactual (infeasible or unpriced) are left out by the caller.
    """
    routed = _moments(routed)
    paid, counterfactual = routed.paid_nano, routed.tokenmaxxed_nano
    held = [session for session in holdout if session.tokenmaxxed_nano > 0]
    weight = sum(session.tokenmaxxed_nano for session in held)
    if not weight:
        return Savings(
            paid_nano=paid,
            tokenmaxxed_nano=counterfactual,
            saved_nano=counterfactual - paid,
            low_nano=None,
            high_nano=None,
            kappa=1.0,
            n_eff=0.0,
            holdout_sessions=0,
            routed_sessions=routed.count,
            badge=Badge.ESTIMATED,
        )
    truth = sum(session.paid_nano for session in held)
    corrected = counterfactual * truth // weight
    saved = corrected - paid
    n_eff = weight**2 / sum(session.tokenmaxxed_nano**2 for session in held)
    spread = _spread(held, routed, n_eff)
    half = None if spread is None else spread.half_of(counterfactual)
    return Savings(
        paid_nano=paid,
        tokenmaxxed_nano=corrected,
        saved_nano=saved,
        low_nano=None if half is None else saved - half,
        high_nano=None if half is None else saved + half,
        kappa=truth / weight,
        n_eff=n_eff,
        holdout_sessions=len(held),
        routed_sessions=routed.count,
        badge=_badge(n_eff, half, corrected),
        spread=spread,
    )


def _badge(n_eff: float, half: int | None, corrected: int) -> Badge:
    narrow = half is not None and half <= MEASURED_WIDTH * corrected
    return Badge.MEASURED if n_eff >= MEASURED_SESSIONS and narrow else Badge.ESTIMATED


def _spread(held: list[Session], routed: Moments, n_eff: float) -> Spread | None:
    """What the 95% interval is made of; None where too few sessions carry the weight."""
    if len(held) < 2 or n_eff <= 1.0 + 1e-9:
        return None
    weight = sum(session.tokenmaxxed_nano for session in held)
    truth = sum(session.paid_nano for session in held)
    kappa = truth / weight
    left_out = [
        (truth - session.paid_nano) / (weight - session.tokenmaxxed_nano) for session in held
    ]
    mean = math.fsum(left_out) / len(left_out)
    count = len(held)
    of_kappa = (count - 1) / count * math.fsum((value - mean) ** 2 for value in left_out)
    residuals = math.fsum((s.paid_nano - kappa * s.tokenmaxxed_nano) ** 2 for s in held)
    noise = residuals / math.fsum(float(s.tokenmaxxed_nano) ** 2 for s in held)
    routed_sum = routed.tokenmaxxed_nano
    of_routed = noise * routed.squares / float(routed_sum) ** 2 if routed_sum else 0.0
    return Spread(of_kappa, of_routed, student_t(_CONFIDENCE, n_eff - 1), routed_sum)


@dataclass(frozen=True, slots=True)
class Cleanliness:
    """Whether savings were bought with quality.

    Rates of accepted sessions among those whose outcome is known; None where none is.
    ``clean`` is None without outcomes on both sides.
    """

    routed_rate: float | None
    holdout_rate: float | None
    clean: bool | None


def cleanliness(
    holdout: Sequence[Session] | Moments,
    routed: Sequence[Session] | Moments,
    delta: float = CLEAN_DELTA,
) -> Cleanliness:
    """Savings are clean where the routed success rate is at most ``delta`` below the holdout's."""
    ours, theirs = _moments(routed).rate, _moments(holdout).rate
    clean = None if ours is None or theirs is None else ours >= theirs - delta
    return Cleanliness(ours, theirs, clean)


def per_accepted(sessions: Sequence[Session]) -> int | None:
    """Cost of an accepted outcome, nano-USD: all that was paid over all that was accepted."""
    known = [session for session in sessions if session.accepted is not None]
    accepted = sum(session.accepted is True for session in known)
    return sum(session.paid_nano for session in known) // accepted if accepted else None


def _moments(sessions: Sequence[Session] | Moments) -> Moments:
    return sessions if isinstance(sessions, Moments) else Moments.of(sessions)


def student_t(probability: float, freedom: float) -> float:
    """The quantile of Student's t, for 0.5 <= probability < 1 and any freedom > 0."""
    low, high = 0.0, 1.0
    while student_cdf(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        if student_cdf(middle, freedom) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def student_cdf(value: float, freedom: float) -> float:
    """P(T <= value) for value >= 0, through the regularised incomplete beta function."""
    tail = _beta_share(freedom / (freedom + value * value), freedom / 2, 0.5)
    return 1 - tail / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """I_x(a, b) by Lentz's continued fraction."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    total = d
    for m in range(1, 400):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + numerator * d, tiny)
            c = _away(1 + numerator / c, tiny)
            total *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(log_front) * total / a


def _away(value: float, tiny: float) -> float:
    """``value``, kept away from zero."""
    return tiny if abs(value) < tiny else value
