"""A process that spends from a shared budget, and what it says it did.

Run as ``python sharing.py '{"url": ..., ...}'``: opens the ledger, says ``ready``, waits for
a line on stdin, then holds and settles until refused or told to stop. Each line it prints is
an event with the machine's monotonic clock, taken so that a hold is told late and its end
early: at any instant what was told is no more than what was held.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from billing.accounts import Accounts, BillingSection, build_accounts
from billing.errors import BudgetExhausted, LedgerUnavailable, Throttled
from billing.ledger import HoldRequest
from billing.receipt import Attempt, Line, Receipt
from billing.shared_ledger import SharedLedger

PATH = ("organisation", "t", "t/p", "t/p/k")
REFUSALS = 25


def accounts(*budgets: str, **sections: object) -> Accounts:
    """One team with these budgets, a project and a key."""
    document = {
        "keys": {"k": "sha256:" + "a" * 64},
        "teams": {"t": {"budget": list(budgets), "projects": {"p": {"keys": ["k"]}}}},
        **sections,
    }
    return build_accounts(BillingSection.model_validate(document))


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


def receipt(request_id: str, cost: int, at_ms: int) -> Receipt:
    """A receipt of the one key with one line."""
    attempt = f"{request_id}-a"
    line = Line(attempt, "input", cost, "0.001", cost, "sha256:b", "r")
    return Receipt(
        request_id=request_id,
        at_ms=at_ms,
        team="t",
        project="p",
        key="k",
        user=None,
        session=None,
        task=None,
        tags={},
        requested_model="m",
        served_model="m",
        tier="small",
        upstream="u",
        action="pass",
        arm="routed",
        reasons=(),
        candidates=(),
        original_prompt_tokens=cost,
        sent_prompt_tokens=cost,
        cached_tokens=0,
        completion_tokens=0,
        reasoning_tokens=0,
        effective_tokens=cost,
        billed_tokens=cost,
        cost_nano=cost,
        gateway_cost_nano=0,
        baseline_nano=None,
        baseline_model="m",
        waste_nano=0,
        usage_source="provider",
        lines=(line,) if cost else (),
        attempts=(Attempt(attempt, "m", "u", 200, "ok", 1.0, 2.0),),
        overhead_ms=1.0,
        status=200,
        policy_hash="",
        prices_hash="",
        catalog_hash="",
    )


def request(request_id: str, amount: int, at_ms: int) -> HoldRequest:
    """A hold for the one key."""
    return HoldRequest(request_id, PATH, None, amount, at_ms, "m", "u")


def told(kind: str, request_id: str, amount: int) -> None:
    """An event on stdout, whole, before anything else happens."""
    sys.stdout.write(f"{kind} {request_id} {amount} {time.monotonic_ns()}\n")
    sys.stdout.flush()


def spend(ledger: SharedLedger, name: str, chance: random.Random, amount: int) -> None:
    """Hold and settle, release or forget until the budget is used up."""
    refused = number = 0
    while refused < REFUSALS:
        request_id, number = f"{name}-{number}", number + 1
        size = chance.randint(amount // 2, amount)
        at = now_ms()
        try:
            hold = ledger.hold(request(request_id, size, at))
        except BudgetExhausted:
            refused += 1
            time.sleep(0.01)
            continue
        except (Throttled, LedgerUnavailable):
            time.sleep(0.05)
            continue
        told("held", request_id, size)
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.004)
        fate, cost = chance.random(), chance.randint(0, size)
        if fate < 0.7:
            told("settling", request_id, cost)
            ledger.settle(hold, receipt(request_id, cost, at))
            told("settled", request_id, cost)
        elif fate < 0.95:
            told("releasing", request_id, size)
            ledger.release(hold, "cancelled")


def main() -> None:
    """One process of the test."""
    said = json.loads(sys.argv[1])
    tree = accounts(*said["budgets"], **said.get("sections", {}))
    folder = Path(said["folder"])
    ledger = SharedLedger(said["url"], tree, now_ms, state=said.get("state"), folder=folder).open()
    print("ready", ledger.member, 0, 0, flush=True)
    sys.stdin.readline()
    spend(ledger, said["name"], random.Random(said["seed"]), said["amount"])
    print("done", said["name"], 0, 0, flush=True)
    if sys.stdin.readline().strip() == "close":
        ledger.close()


if __name__ == "__main__":
    main()
