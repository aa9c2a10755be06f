"""The provider's word against ours: per account and UTC day, what differs and why. Pure.

A day's delta is their cost less ours. What we charged without knowing (holds of dead
processes, of what had no price, estimates) is reversed and set right first, request by
request, so that teams and keys keep their share; only what no such request can carry is
booked as unallocated. Afterwards the day is exactly what the provider says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from billing.money import nano
from billing.provider_exports import Export, Stated

HELD_CLASSES = ("orphan", "provisional", "unpriced")
"""Charged at the hold, the worst case: the truth cannot be more."""
ESTIMATED = "estimated"
_ESTIMATE_ROOM = 2
"""An estimate may have been too low; at most it is doubled, the rest is unallocated."""
_ZERO = Decimal(0)
_DATED = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True, slots=True)
class Doubtful:
    """One request that was charged without a provider's count; ``kind`` says why."""

    request_id: str
    kind: str
    team: str
    project: str | None
    key: str
    model: str
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Ours:
    """What the ledger has of one account and UTC day.

    ``cost_nano`` is the providers' part of all receipts and what was booked before;
    ``doubtful`` those requests among them that were not set right yet.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano: int = 0
    models: frozenset[str] = frozenset()
    doubtful: tuple[Doubtful, ...] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Part of an explanation: ``amount_nano`` is what it may account for, None if unknown."""

    code: str
    count: int
    amount_nano: int | None
    said: str


@dataclass(frozen=True, slots=True)
class Delta:
    """One account and day compared. Theirs are None where the export does not say them."""

    account: str
    day: date
    ours: Ours
    theirs_nano: int | None
    their_prompt_tokens: int | None
    their_completion_tokens: int | None
    tolerance_nano: int
    reasons: tuple[Reason, ...] = ()

    @property
    def delta_nano(self) -> int | None:
        """Their cost less ours."""
        return None if self.theirs_nano is None else self.theirs_nano - self.ours.cost_nano

    @property
    def delta_tokens(self) -> int | None:
        """Their tokens less ours."""
        if self.their_prompt_tokens is None:
            return None
        theirs = self.their_prompt_tokens + (self.their_completion_tokens or 0)
        return theirs - self.ours.prompt_tokens - self.ours.completion_tokens

    @property
    def agrees(self) -> bool:
        """The costs differ by at most the tolerance; without costs, the tokens not at all."""
        if self.delta_nano is not None:
            return abs(self.delta_nano) <= self.tolerance_nano
        return not self.delta_tokens


@dataclass(frozen=True, slots=True)
class Correction:
    """One row to book: ``reversal`` takes a charge back, ``correction`` puts the right one."""

    kind: str
    amount_nano: int
    reason: str
    doubtful: Doubtful | None = None


def accounts_of(export: Export, account: str | None, known: Mapping[str, str]) -> list[str]:
    """The accounts that an export is about.

    Args:
        account: the one that it was said to be of, or None.
        known: provider by account, as configured.

    Raises:
        ValueError: none, or several, could be meant; or it names one that nobody knows.
    """
    named = {row.account for row in export.rows if row.account}
    if account is not None:
        if named - {account}:
            raise ValueError(f"the export names other accounts, too: {', '.join(sorted(named))}")
        wanted = {account}
    elif named:
        wanted = named
    else:
        wanted = {name for name, provider in known.items() if provider == export.kind}
        if len(wanted) != 1:
            raise ValueError(
                f"which account is this export of? name it with --account; known: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
    if len(wanted) > 1 and any(row.account is None for row in export.rows):
        raise ValueError("some rows name an account and some do not: fill the column, or split it")
    strangers = wanted - set(known)
    if strangers:
        raise ValueError(
            f"account {min(strangers)!r} is no upstream here; known: {', '.join(sorted(known))}"
        )
    return sorted(wanted)


def compare(
    export: Export,
    accounts: Sequence[str],
    ours: Mapping[tuple[str, date], Ours],
    tolerance_nano: int,
    before: date,
) -> list[Delta]:
    """Every account and day of an export that is over by ``before``, explained, oldest first."""
    found = []
    for day in export.days:
        if day >= before:
            continue
        for account in accounts:
            rows = [r for r in export.rows if r.day == day and r.account in (None, account)]
            found.append(
                _delta(
                    account, day, ours.get((account, day), Ours()), (export, rows), tolerance_nano
                )
            )
    return found


def _delta(
    account: str,
    day: date,
    ours: Ours,
    theirs: tuple[Export, Sequence[Stated]],
    tolerance_nano: int,
) -> Delta:
    export, rows = theirs
    tokens = export.has_tokens
    plain = Delta(
        account=account,
        day=day,
        ours=ours,
        theirs_nano=_cost(rows) if export.has_cost else None,
        their_prompt_tokens=sum(r.prompt_tokens or 0 for r in rows) if tokens else None,
        their_completion_tokens=sum(r.completion_tokens or 0 for r in rows) if tokens else None,
        tolerance_nano=tolerance_nano,
    )
    if not plain.delta_nano and not plain.delta_tokens:
        return plain
    return replace(plain, reasons=tuple(_reasons(plain, rows)))


def _cost(rows: Iterable[Stated]) -> int:
    """Their cost, nano-USD: exact decimals, rounded once a day."""
    return nano(sum((row.cost_usd for row in rows if row.cost_usd is not None), start=_ZERO))


def _reasons(delta: Delta, rows: Sequence[Stated]) -> list[Reason]:
    """Why they differ, the likeliest first; ends with what nothing explains."""
    ours, difference = delta.ours, delta.delta_nano
    theirs = bool(delta.theirs_nano or delta.their_prompt_tokens)
    reasons = []
    if theirs and not ours.requests:
        reasons.append(
            Reason("missing_ours", 0, difference, "no request of ours went to this account")
        )
    if ours.requests and not theirs:
        said = f"the export has nothing for our {ours.requests:,} requests"
        reasons.append(Reason("missing_theirs", ours.requests, difference, said))
    for kind in (*HELD_CLASSES, ESTIMATED):
        some = [one for one in ours.doubtful if one.kind == kind]
        if some:
            total = sum(one.cost_nano for one in some)
            reasons.append(Reason(kind, len(some), total, _DOUBT[kind]))
    reasons += _of_tiers(rows)
    if theirs and ours.requests:
        reasons += _of_models(rows, ours.models)
        reasons += _of_tokens(delta)
    rest = unallocated(delta)
    if rest and not any(reason.code.startswith("missing") for reason in reasons):
        reasons.append(Reason("unexplained", 0, rest, "no request of ours can carry this"))
    return reasons


_DOUBT = {
    "orphan": "charged in full at the hold, since the process died",
    "provisional": "charged in full at the hold, since no answer was seen",
    "unpriced": "charged at the hold, since what was served has no price here",
    "estimated": "the provider reported no usage, so tokens were counted here",
}


def _of_tiers(rows: Sequence[Stated]) -> list[Reason]:
    tiers = sorted({row.tier for row in rows if row.tier})
    found = []
    for tier in tiers:
        some = [row for row in rows if row.tier == tier]
        cost = _cost(some) if any(row.cost_usd is not None for row in some) else None
        found.append(Reason("tier", len(some), cost, f"billed at service tier {tier}"))
    return found


def _of_models(rows: Sequence[Stated], ours: frozenset[str]) -> list[Reason]:
    """Models that stand on one side only, where the export names models at all."""
    if not rows or any(row.model is None for row in rows):
        return []
    mine = {same(model) for model in ours}
    foreign = [row for row in rows if row.model is not None and same(row.model) not in mine]
    names = sorted({str(row.model) for row in foreign})
    found = []
    if names:
        cost = _cost(foreign) if any(row.cost_usd is not None for row in foreign) else None
        said = f"models that we did not serve: {', '.join(names[:5])}"
        found.append(Reason("model", len(names), cost, said))
    theirs = {same(str(row.model)) for row in rows}
    lost = sorted(model for model in ours if same(model) not in theirs)
    if lost:
        said = f"models that only we have: {', '.join(lost[:5])}"
        found.append(Reason("model", len(lost), None, said))
    return found


def _of_tokens(delta: Delta) -> list[Reason]:
    tokens = delta.delta_tokens
    if tokens is None:
        return []
    if tokens:
        return [Reason("tokens", abs(tokens), None, f"they count {tokens:+,} tokens")]
    if delta.delta_nano:
        return [Reason("price", 0, delta.delta_nano, "the same tokens at another price")]
    return []


def same(model: str) -> str:
    """A model's name without its date, case and punctuation, to compare names by."""
    return _DATED.sub("", re.sub(r"[\s._/]+", "-", model.strip().lower()))


def unallocated(delta: Delta) -> int:
    """The part of a delta that no doubtful request can carry, nano-USD."""
    return sum(row.amount_nano for row in corrections(delta) if row.doubtful is None)


def corrections(delta: Delta) -> list[Correction]:
    """The rows that make our cost theirs; their amounts sum to the delta exactly."""
    if not delta.delta_nano or delta.theirs_nano is None:
        return []
    doubtful = delta.ours.doubtful
    certain = delta.ours.cost_nano - sum(one.cost_nano for one in doubtful)
    shares, rest = allocate(delta.theirs_nano - certain, doubtful)
    rows = []
    for one, share in zip(doubtful, shares, strict=True):
        if share == one.cost_nano:
            continue
        rows.append(Correction("reversal", -one.cost_nano, one.kind, one))
        if share:
            rows.append(Correction("correction", share, one.kind, one))
    if rest:
        reason = "unallocated" if delta.ours.requests else "missing_ours"
        rows.append(Correction("correction", rest, reason))
    return rows


def allocate(amount: int, doubtful: Sequence[Doubtful]) -> tuple[list[int], int]:
    """What each doubtful request really cost, and what is left over, nano-USD.

    Holds give way first, since they were the worst case; estimates move only where holds
    cannot, and at most to the double. The shares and the rest sum to ``amount``.
    """
    held = [one.cost_nano if one.kind != ESTIMATED else 0 for one in doubtful]
    guessed = [one.cost_nano if one.kind == ESTIMATED else 0 for one in doubtful]
    wanted = amount - sum(guessed)
    if 0 <= wanted <= sum(held):
        return [g + h for g, h in zip(guessed, proportional(wanted, held), strict=True)], 0
    if wanted < 0:
        taken = max(amount, 0)
        return proportional(taken, guessed), amount - taken
    most = _ESTIMATE_ROOM * sum(guessed)
    taken = min(amount - sum(held), most)
    moved = proportional(taken, guessed)
    return [m + h for m, h in zip(moved, held, strict=True)], amount - sum(held) - taken


def proportional(amount: int, weights: Sequence[int]) -> list[int]:
    """Whole parts of ``amount`` by weight that sum to it exactly; all 0 where no weight is."""
    total = sum(weights)
    if not total:
        return [0] * len(weights)
    parts = [amount * weight // total for weight in weights]
    by_loss = sorted(range(len(weights)), key=lambda n: -(amount * weights[n] % total))
    for place in by_loss[: amount - sum(parts)]:
        parts[place] += 1
    return parts
