"""What a ladder asks of one new request: refuse, throttle, ask for approval, tell somebody.

Routing, compressing and shorter answers are the plan's business (`router.decide`); here is
what happens before there is one. A key without a ladder costs nothing.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from billing.budget import WindowFigures
from billing.errors import ApprovalNeeded, BudgetExhausted, BudgetFigures, Throttled
from billing.grants import approved
from billing.ladder import Brake
from billing.money import usd
from gateway.exchange import Caller
from gateway.shell import Shell

NONE = Brake()
THROTTLE_WAIT_S = 5.0
_PER_CENT = 100


def obeyed(shell: Shell, caller: Caller, request_id: str, at_ms: int) -> Brake:
    """The brake on a new request, after all of it that can refuse has been asked.

    Raises:
        BudgetExhausted: `reject`. ApprovalNeeded: `approve` without a grant.
        Throttled: `reject: 429`, or this request is not of the share that `throttle` lets pass.
    """
    key = caller.key
    if key.ladder is None:
        return NONE
    brake = shell.ledger.brake(key.path, caller.user, at_ms)
    if brake is NONE or brake == NONE:
        return NONE
    if brake.notify:
        shell.notifier.tell(
            brake.notify, caller.user, at_ms, lambda: shell.ledger.budgets(key.path, caller.user)
        )
    if brake.reject is not None:
        raise refusal(shell.ledger.tightest(key.path, caller.user), brake.reject, at_ms)
    if brake.approve and not approved(shell.grants, key.path):
        raise _unapproved(shell.ledger.tightest(key.path, caller.user))
    if brake.throttle_percent < _PER_CENT and not passes(request_id, brake.throttle_percent):
        raise Throttled(
            f"only {brake.throttle_percent}% of requests pass while this budget is braked; "
            f"try again",
            THROTTLE_WAIT_S,
        )
    return brake


def passes(request_id: str, percent: int) -> bool:
    """Whether a request is of the share that passes: a function of its id alone."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") * _PER_CENT < percent << 32


def refusal(figures: WindowFigures | None, kind: str, at_ms: int) -> BudgetExhausted | Throttled:
    """The error of a ladder's `reject`; ``kind`` is "budget" (402) or "rate" (429)."""
    found = figures.figures() if figures is not None else BudgetFigures("", 0, 0, 0, "")
    exhausted = BudgetExhausted(f"the ladder rejects new requests: {_state(found)}", found)
    return as_rate(exhausted, at_ms) if kind == "rate" else exhausted


def as_rate(exhausted: BudgetExhausted, at_ms: int) -> Throttled:
    """A budget's refusal for clients that know 429 only; they wait until it resets."""
    return Throttled(str(exhausted), max(1.0, _seconds_left(exhausted.figures.resets_at, at_ms)))


def _unapproved(figures: WindowFigures | None) -> ApprovalNeeded:
    found = figures.figures() if figures is not None else BudgetFigures("", 0, 0, 0, "")
    node = figures.node if figures is not None else "NODE"
    return ApprovalNeeded(
        f"further requests need an approval: {_state(found)}. Whoever answers for the budget can "
        f"run `weir policy grant {node} AMOUNT --until DATE --why REASON`",
        found,
    )


def _state(figures: BudgetFigures) -> str:
    return (
        f"budget {figures.budget} has {usd(figures.spent_nano)} USD spent and "
        f"{usd(figures.held_nano)} USD held of {usd(figures.limit_nano)} USD; it resets at "
        f"{figures.resets_at}"
    )


def _seconds_left(resets_at: str, at_ms: int) -> float:
    try:
        moment = datetime.fromisoformat(resets_at)
    except ValueError:
        return THROTTLE_WAIT_S
    return moment.astimezone(UTC).timestamp() - at_ms / 1000
