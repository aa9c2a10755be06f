"""What routing saved, from the ledger: how much, how sure, through what, and at what quality.

The unit is the session. The saving is of the routed arm; the holdout corrects it and bounds
it (``billing.savings``); its causes add up to it exactly (``billing.split``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from billing.money import half_even, usd
from billing.reader import reading
from billing.reports import Scope, TaskRow, outcomes, sessions
from billing.rolled import summed
from billing.rollup_shape import SUMS
from billing.savings import CLEAN_DELTA, Cleanliness, Savings, cleanliness, measure
from billing.split import Split

ROUTED = "routed"
_ONE_DOLLAR = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Causes:
    """Savings by cause over the routed requests whose tokenmaxxed cost is known, nano-USD.

    ``tokenmaxxed_nano`` is as computed, before the holdout's correction. ``unsplit_nano`` is
    what receipts without a split saved (older ones): shown, never spread over the causes.
    """

    tokenmaxxed_nano: int
    paid_nano: int
    split: Split
    unsplit_nano: int
    requests: int
    infeasible: int


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of the waterfall: from tokenmaxxed down (or up) to paid, nano-USD."""

    name: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Report:
    """The savings of a range. ``tasks`` are closed tasks by arm."""

    savings: Savings
    clean: Cleanliness
    causes: Causes
    tasks: tuple[TaskRow, ...]

    @property
    def correction_nano(self) -> int:
        """The part of the saving that only the holdout shows: how far the computed tokenmaxxed
        cost was below the truth (negative: above it).
        """
        return self.savings.tokenmaxxed_nano - self.causes.tokenmaxxed_nano

    def waterfall(self) -> list[Step]:
        """Tokenmaxxed, what took each part of it away (a loss adds), and what was paid.

        All amounts but the last add up to the last, to the nano.
        """
        causes = self.causes
        steps = [Step("tokenmaxxed", self.savings.tokenmaxxed_nano)]
        steps += [Step(cause, -amount) for cause, amount in causes.split.parts()]
        if self.correction_nano:
            steps.append(Step("correction", -self.correction_nano))
        if causes.unsplit_nano:
            steps.append(Step("unsplit", -causes.unsplit_nano))
        return [*steps, Step("paid", causes.paid_nano)]


def report(url: str, scope: Scope, delta: float = CLEAN_DELTA) -> Report:
    """The savings of a range, whole.

    Args:
        delta: how far below the holdout's the routed success rate may be and still be clean.
    """
    held, routed = sessions(url, scope)
    return Report(
        savings=measure(held, routed),
        clean=cleanliness(held, routed, delta),
        causes=causes(url, scope),
        tasks=tuple(outcomes(url, scope)),
    )


def causes(url: str, scope: Scope) -> Causes:
    """The routed requests' saving by cause; the parts and ``unsplit`` are the whole of it."""
    with reading(url) as db:
        figures = summed(db, replace(scope, also=(*scope.also, ("arm", ROUTED)))).get(())
    row = dict(zip(SUMS, figures or [0] * len(SUMS), strict=True))
    split = Split(
        row["saved_trim_nano"],
        row["saved_model_nano"],
        row["saved_cache_nano"],
        row["saved_retries_nano"],
        -row["parted_gateway_nano"],
    )
    baseline, paid = row["baseline_nano"], row["compared_nano"]
    return Causes(
        tokenmaxxed_nano=baseline,
        paid_nano=paid,
        split=split,
        unsplit_nano=baseline - paid - split.saved_nano,
        requests=row["requests"],
        infeasible=row["infeasible"],
    )


def to_json(found: Report) -> dict[str, Any]:
    """The outward shape: money as decimal strings, rates as rounded numbers."""
    savings, clean, parts = found.savings, found.clean, found.causes
    return {
        "badge": savings.badge.value,
        "paid_usd": usd(savings.paid_nano),
        "tokenmaxxed_usd": usd(savings.tokenmaxxed_nano),
        "saved_usd": usd(savings.saved_nano),
        "saved_share": round(savings.share, 6),
        "ci95_usd": _interval(savings),
        "kappa": round(savings.kappa, 6),
        "n_eff": round(savings.n_eff, 1),
        "sessions": {"routed": savings.routed_sessions, "holdout": savings.holdout_sessions},
        "requests": parts.requests,
        "infeasible": parts.infeasible,
        "by_cause_usd": {
            **{cause: usd(amount) for cause, amount in parts.split.parts()},
            "unsplit": usd(parts.unsplit_nano),
            "correction": usd(found.correction_nano),
        },
        "clean": clean.clean,
        "success_rate": {
            "routed": _rounded(clean.routed_rate),
            "holdout": _rounded(clean.holdout_rate),
        },
        "tasks": [_task(row) for row in found.tasks],
    }


def in_words(found: Report) -> str:
    """The report as a paragraph for somebody who signs the bill."""
    savings = found.savings
    if not savings.routed_sessions:
        return "Nothing was routed in this range, so nothing was saved and nothing was lost."
    digits = _places(found)
    verb = "saved" if savings.saved_nano >= 0 else "lost"
    verdict = (
        f"Routing {verb} ${_dollars(abs(savings.saved_nano), digits)} "
        f"({abs(savings.share):.1%} of ${_dollars(savings.tokenmaxxed_nano, digits)})"
    )
    if savings.low_nano is not None and savings.high_nano is not None:
        verdict += (
            f"; with 95% confidence between ${_dollars(savings.low_nano, digits)} and "
            f"${_dollars(savings.high_nano, digits)}"
        )
    said = [verdict, _trust(savings), _quality(found.clean)]
    if found.causes.infeasible:
        said.append(
            f"{found.causes.infeasible:,} of {found.causes.requests:,} routed requests have no "
            f"tokenmaxxed figure (too long for the model they asked for, no price, or charged at "
            f"the hold) and are left out"
        )
    return ". ".join(said) + "."


def _trust(savings: Savings) -> str:
    if not savings.holdout_sessions:
        return (
            "This is estimated: no session was held out, so nothing says how far the computed "
            "tokenmaxxed cost is from the truth; set `holdout` to measure it"
        )
    words = (
        f"This is {savings.badge.value}: {savings.holdout_sessions:,} sessions passed untouched "
        f"(worth {savings.n_eff:.0f} of equal weight) and cost {savings.kappa:.3f} times what was "
        f"computed for them"
    )
    return words + (", which is corrected for" if savings.kappa != 1 else "")


def _quality(clean: Cleanliness) -> str:
    if clean.clean is None or clean.routed_rate is None or clean.holdout_rate is None:
        return "Whether quality held is not known: no outcomes were posted on both sides"
    verdict = "clean" if clean.clean else "NOT clean"
    return (
        f"Savings are {verdict}: {clean.routed_rate:.1%} of routed sessions were accepted, "
        f"{clean.holdout_rate:.1%} of those held out"
    )


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 6)


def _interval(savings: Savings) -> list[str] | None:
    if savings.low_nano is None or savings.high_nano is None:
        return None
    return [usd(savings.low_nano), usd(savings.high_nano)]


def _task(row: TaskRow) -> dict[str, Any]:
    each = row.nano_per_accepted
    return {
        "arm": row.arm,
        "accepted": row.accepted,
        "rejected": row.rejected,
        "success_rate": round(row.success_rate, 6),
        "cost_usd": usd(row.cost_nano),
        "cost_per_accepted_usd": None if each is None else usd(each),
    }


def rows(found: Report) -> list[tuple[str, str, str]]:
    """(step, USD, share of tokenmaxxed) of the waterfall, as text for a table."""
    whole, digits = found.savings.tokenmaxxed_nano, _places(found)
    return [
        (step.name, _dollars(step.amount_nano, digits), _share(step.amount_nano, whole))
        for step in found.waterfall()
    ]


def _share(amount: int, whole: int) -> str:
    return f"{Decimal(amount) / whole:.1%}" if whole else "-"


def _places(found: Report) -> int:
    """Decimal places of every USD of a report: cents, or four where it is about less than $1."""
    whole = max(abs(found.savings.tokenmaxxed_nano), abs(found.savings.paid_nano))
    return 2 if whole >= _ONE_DOLLAR else 4


def _dollars(amount: int, digits: int) -> str:
    """USD for people to read."""
    unit = 10 ** (9 - digits)
    return f"{Decimal(half_even(amount, unit)).scaleb(-digits):,.{digits}f}"
