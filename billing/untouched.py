"""What untouched traffic says of a model: how long it reasons, what its retries cost.

The tokenmaxxed counterfactual needs two things that no single request tells: how many
reasoning tokens the model asked for would have spent on it, and what its failed attempts
would have cost. Untouched traffic tells, where that model answered:

    reasoning of (model, class) = mean reasoning tokens of an answer in the holdout
    retry rate of model         = billed cost of other attempts / cost of the answers,
                                  in the holdout and in observe mode

A *class* is the kind of reading and whether a small model is likely enough (``class_of``). A
figure of fewer observations than ``MIN_ANSWERS`` or ``MIN_RETRIES`` is not used. Sums are kept
by day for ``DAYS`` days in one row of the ledger's ``facts``; whichever process reads the
receipts first adds them, by compare and swap, and none is added twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from billing.desk import Desk
from billing.money import half_even
from billing.receipt import GATEWAY, Receipt, from_fields
from billing.record import record

MIN_ANSWERS = 30
MIN_RETRIES = 100
DAYS = 30
BATCH = 2_000
"""Sequence numbers a turn."""
LOOK_BACK = 200_000
"""So many postings of a ledger that never kept these figures are read at first."""
ARMS = frozenset({"holdout", "observe"})
_FACT = "untouched"
_DAY_MS = 86_400_000
_PLACES = Decimal("0.0001")
_SPLIT = "|"


@record(frozen=True, slots=True)
class Norm:
    """What is known of one model and class.

    ``reasoning_tokens`` is the mean of ``answers`` answers, None below ``MIN_ANSWERS``;
    ``retry_rate`` is of ``retries_of`` answers, 0 below ``MIN_RETRIES``.
    """

    reasoning_tokens: int | None = None
    answers: int = 0
    retry_rate: Decimal = Decimal(0)
    retries_of: int = 0


@record(frozen=True, slots=True)
class Norms:
    """The figures in force in this process, of sums by (model, class) and by model."""

    reasoning: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    retries: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    def of(self, model: str, kind: str) -> Norm:
        """The norm of a model for a class; neutral where too little was seen."""
        answers, thought = self.reasoning.get((model, kind), (0, 0))
        count, cost, extra = self.retries.get(model, (0, 0, 0))
        rate = Decimal(0)
        if count >= MIN_RETRIES and cost:
            rate = (Decimal(extra) / cost).quantize(_PLACES)
        mean = half_even(thought, answers) if answers >= MIN_ANSWERS else None
        return Norm(mean, answers, rate, count)


def class_of(decision: Mapping[str, Any]) -> str:
    """The class of a request by the record of its decision: ``lookup/easy``, say."""
    kind = str((decision.get("need") or {}).get("kind", "unknown"))
    score = (decision.get("complexity") or {}).get("small_is_enough", 0)
    return f"{kind}/{'easy' if score >= 0.5 else 'hard'}"


@dataclass(slots=True)
class Tally:
    """Sums by day, up to and with the posting ``seq``. ``days`` maps a day number to sums:
    ``m|class`` -> [answers, reasoning tokens] and ``m`` -> [answers, their nano, others' nano].
    """

    seq: int = 0
    days: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        """An untouched answer counts; any other receipt does not."""
        model = receipt.baseline_model
        if receipt.arm not in ARMS or receipt.status != 200 or receipt.served_model != model:
            return
        if receipt.usage_source != "provider" or not receipt.attempts:
            return
        last = receipt.attempts[-1].id
        own = [line for line in receipt.lines if not line.component.startswith(GATEWAY)]
        answer = sum(line.amount_nano for line in own if line.attempt == last)
        others = sum(line.amount_nano for line in own if line.attempt != last)
        day = self.days.setdefault(str(receipt.at_ms // _DAY_MS), {})
        key = f"{model}{_SPLIT}{class_of(receipt.decision)}"
        if receipt.arm == "holdout":
            _plus(day, key, (1, receipt.reasoning_tokens))
        _plus(day, model, (1, answer, others))

    def forget(self, now_ms: int) -> None:
        """Days that are too old are gone."""
        oldest = now_ms // _DAY_MS - DAYS
        self.days = {day: sums for day, sums in self.days.items() if int(day) > oldest}

    def norms(self) -> Norms:
        """The figures of all days."""
        whole: dict[str, list[int]] = {}
        for sums in self.days.values():
            for key, values in sums.items():
                _plus(whole, key, values)
        reasoning: dict[tuple[str, str], tuple[int, int]] = {}
        retries: dict[str, tuple[int, int, int]] = {}
        for key, values in whole.items():
            if len(values) == 2:
                model, _, kind = key.rpartition(_SPLIT)
                reasoning[model, kind] = (values[0], values[1])
            else:
                retries[key] = (values[0], values[1], values[2])
        return Norms(reasoning, retries)

    def text(self) -> str:
        """As the ledger keeps it; equal tallies are equal texts."""
        return orjson.dumps(
            {"seq": self.seq, "days": self.days}, option=orjson.OPT_SORT_KEYS
        ).decode()

    @classmethod
    def read(cls, text: str) -> Tally:
        """A kept tally."""
        return cls(**orjson.loads(text))


def _plus(sums: dict[str, list[int]], key: str, values: Iterable[int]) -> None:
    some = list(values)
    before = sums.get(key) or [0] * len(some)
    sums[key] = [a + b for a, b in zip(before, some, strict=True)]


def refresh(desk: Desk, now_ms: int) -> tuple[Norms, bool]:
    """The figures with the next batch of receipts in them, and whether there is more to read.

    Raises:
        LedgerUnavailable: the ledger cannot be read or written.
    """
    head = int(desk.rows("SELECT COALESCE(MAX(seq), 0) FROM receipts")[0][0])
    kept = _kept(desk, max(0, head - LOOK_BACK))
    tally = Tally.read(kept)
    if tally.seq >= head:
        return tally.norms(), False
    until = min(head, tally.seq + BATCH)
    rows = desk.rows(
        "SELECT body FROM receipts WHERE seq > ? AND seq <= ? AND status = 200 "
        "AND arm IN ('holdout', 'observe')",
        tally.seq,
        until,
    )
    for (body,) in rows:
        tally.add(from_fields(orjson.loads(bytes(body))))
    tally.seq = until
    tally.forget(now_ms)
    # Another process that was first has added the same receipts: its sums hold.
    change = "UPDATE facts SET value = ? WHERE name = ? AND value = ?"
    if not desk.change(change, tally.text(), _FACT, kept):
        return Tally.read(_kept(desk, 0)).norms(), True
    return tally.norms(), until < head


def _kept(desk: Desk, start: int) -> str:
    """The kept tally's text; a ledger without one gets one that begins after ``start``."""
    query = "SELECT value FROM facts WHERE name = ?"
    found = desk.rows(query, _FACT)
    if not found:
        desk.change(
            "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
            _FACT,
            Tally(start).text(),
        )
        found = desk.rows(query, _FACT)
    return str(found[0][0])
