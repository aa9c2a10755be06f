"""What a ledger and labels say of the routing: observed savings, thresholds, other policies.

Reads only. Labels are JSONL with `prompt`, `weak_correct` and `strong_correct` (0 to 1), and a
`category` or `source`; nothing of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from billing.finance_tables import OUTCOMES
from billing.money import nano
from billing.outcome_rows import holding
from billing.outcomes import ACCEPTED
from billing.reader import reading
from billing.receipt import Receipt
from compressor.recipe import Way
from gateway.labels_file import labels
from gateway.replay_log import Range, receipts
from gateway.replay_record import choice_of, readable
from gateway.settings import Settings
from router.correction import Scorer
from router.learning_calibrate import Labelled
from router.learning_ope import Logged
from router.plan import RequestFacts, Tier


def labelled(path: Path, model: Scorer) -> list[Labelled]:
    """Every labelled question with the score's gain.

    Raises:
        LabelsInvalid: a line that is no label. OSError: no such file.
    """
    found = []
    for label in labels(path):
        score = model.score(label.prompt, RequestFacts("auto"))
        name = str(label.row.get("source") or label.row.get("category") or "")
        weak = score.weak is not None
        found.append(Labelled(score.gain, weak, label.small, label.large, name))
    return found


@dataclass
class Observed:
    """What observe mode would have saved, nano-USD, by team and by what would have been done.

    ``paid_nano`` is what was paid for all of them; ``expected_nano`` and ``would_nano`` are
    expected costs of the requests that would have changed, as asked and as they would have gone.
    """

    requests: int = 0
    changed: int = 0
    paid_nano: int = 0
    expected_nano: int = 0
    would_nano: int = 0
    by_team: dict[str, int] = field(default_factory=dict)
    by_action: dict[str, int] = field(default_factory=dict)

    @property
    def saved_nano(self) -> int:
        """Expected savings, never netted with anything."""
        return self.expected_nano - self.would_nano


def observed(found: Iterable[Receipt]) -> Observed:
    """The report of receipts that observe mode wrote."""
    total = Observed()
    for receipt in found:
        if receipt.arm != "observe" or not readable(receipt.decision):
            continue
        total.requests += 1
        total.paid_nano += receipt.cost_nano
        plan, would = choice_of(receipt.decision), choice_of(receipt.decision, "would")
        if plan is None or would is None:
            continue
        if plan.expected_nano is None or would.expected_nano is None:
            continue
        total.changed += 1
        total.expected_nano += plan.expected_nano
        total.would_nano += would.expected_nano
        saved = plan.expected_nano - would.expected_nano
        done = [] if would.model == plan.model else ["route"]
        done += [] if would.way == Way.WHOLE.value else [would.way]
        action = "+".join(done) or "pass"
        total.by_team[receipt.team] = total.by_team.get(receipt.team, 0) + saved
        total.by_action[action] = total.by_action.get(action, 0) + saved
    return total


def outcomes(url: str) -> dict[tuple[str, str], float]:
    """1 for accepted and 0 for rejected, by team and task."""
    query = sa.select(OUTCOMES.c.team, OUTCOMES.c.task, OUTCOMES.c.outcome).where(
        OUTCOMES.c.seq.in_(holding())
    )
    with reading(url) as db:
        return {(team, task): float(said == ACCEPTED) for team, task, said in db.execute(query)}


def logged(url: str, span: Range, settings: Settings, limit: float) -> Iterator[Logged]:
    """Requests with an outcome, as off-policy evaluation needs them.

    ``limit`` is the gain up to which the policy in force sends small: it tells what a request
    of the holdout would have got.
    """
    said = outcomes(url)
    small = {name for name, entry in settings.models.items() if entry.tier is Tier.SMALL}
    for receipt in receipts(url, span):
        good = said.get((receipt.team, receipt.task or receipt.session or ""))
        row = None if good is None else _logged(receipt, good, small, limit)
        if row is not None:
            yield row


def _chance(
    decision: Mapping[str, Any], held: float, *, small: bool, wanted: bool, arm: str
) -> float:
    """How likely what was done was: the holdout first, then exploration (``chance``)."""
    if arm == "holdout":
        return held if wanted and held else 1.0
    done = float(decision.get("chance", 1.0))
    return (1 - held) * done if small else 1 - (1 - held) * (1 - done)


def _logged(receipt: Receipt, good: float, small: set[str], limit: float) -> Logged | None:
    decision: Mapping[str, Any] = receipt.decision
    if not readable(decision) or receipt.arm not in ("routed", "holdout"):
        return None
    score = decision.get("complexity", {})
    costs = [
        nano(Decimal(str(row["expected_usd"])))
        for row in receipt.candidates
        if row["model"] in small and row["way"] == "whole" and row["expected_usd"] is not None
    ]
    if not costs or "gain" not in score or receipt.baseline_nano is None:
        return None
    held = float(decision.get("p", 0.0))
    weak = score.get("weak") is not None
    is_small = receipt.served_model in small
    wanted = is_small or (receipt.arm == "holdout" and not weak and score["gain"] <= limit)
    chance = _chance(decision, held, small=is_small, wanted=wanted, arm=receipt.arm)
    return Logged(
        small=is_small,
        chance=chance,
        good=good,
        guess_small=float(score["p_small"]),
        guess_large=float(score["p_large"]),
        gain=float(score["gain"]),
        weak=weak,
        cost_small=min(costs),
        cost_large=receipt.baseline_nano,
    )
