"""The labels that a ledger and a file hold, as training takes them; texts are never kept.

From receipts of the account ``gateway:shadow`` both answers' verdicts with the score's named
features; from outcomes and from what later requests said of an answer one answer's word each,
without features. An outcome counts once, spread over the requests of its task, and no key's
words are more than half of all where several keys speak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from billing.receipt import Receipt
from gateway.labels_file import labels
from gateway.replay_log import Range, receipts
from gateway.replay_record import readable
from gateway.router_report import outcomes
from router.correction import Correction, Scorer, log_odds, probability
from router.learning import MOST_OF_TASK, SIGNALS, SMALL
from router.learning_ope import Logged
from router.learning_train import Example
from router.plan import RequestFacts
from router.policy import SHADOW_ACCOUNT

Named = tuple[str, Example]
"""A key's name and what it said."""


def from_file(path: Path, scorer: Scorer) -> list[Example]:
    """Labelled questions, scored by the shipped weights.

    Raises:
        LabelsInvalid: a line that is no label. OSError: no such file.
    """
    found = []
    for label in labels(path):
        score = scorer.score(label.prompt, RequestFacts("auto"))
        parts = (score.p_small, score.gain, score.small_is_enough, label.small, label.large)
        found.append(Example(*parts, 1.0, dict(score.features), score.weak is not None))
    return found


def from_ledger(url: str, span: Range, team: str | None = None) -> list[Example]:
    """Every label of a span, of one team or all.

    Raises:
        LedgerUnavailable: the database cannot be read.
    """
    said = outcomes(url)
    tasks: Counter[tuple[str, str]] = Counter()
    served: list[Receipt] = []
    found: list[Named] = []
    for receipt in receipts(url, span):
        if receipt.team == SHADOW_ACCOUNT:
            found += _judged(receipt, team)
        elif team in (None, receipt.team) and readable(receipt.decision):
            found += _implied(receipt)
            if _task(receipt) in said:
                tasks[_task(receipt)] += 1
                served.append(receipt)
    for receipt in served:
        task = _task(receipt)
        found += _told(receipt, said[task], 1 / tasks[task])
    return fair(found)


def fair(found: Sequence[Named]) -> list[Example]:
    """The same, a key that says more than half of everything weighed down to that."""
    by_key: dict[str, float] = {}
    for key, example in found:
        by_key[key] = by_key.get(key, 0.0) + example.weight
    whole = sum(by_key.values())
    factor = dict.fromkeys(by_key, 1.0)
    for key, weight in by_key.items():
        rest = whole - weight
        if rest and weight > MOST_OF_TASK * whole:
            factor[key] = rest / weight
    return [replace(each, weight=each.weight * factor[key]) for key, each in found]


def _task(receipt: Receipt) -> tuple[str, str]:
    return receipt.team, receipt.task or receipt.session or ""


def _judged(receipt: Receipt, team: str | None) -> Iterator[Named]:
    row: Any = receipt.decision.get("shadow")
    if not isinstance(row, dict) or row.get("v") != 1 or team not in (None, row["team"]):
        return
    small, gain, enough = row["score"]
    yield row["key"], Example(
        small, gain, enough, row["small"], row["large"], 1.0, row["features"],
        row["weak"] is not None, "shadow",
    )  # fmt: skip


def _implied(receipt: Receipt) -> Iterator[Named]:
    rows: Any = receipt.decision.get("labels", ())
    for signal, size, *score in rows:
        if len(score) == 3 and signal in SIGNALS:
            yield receipt.key, _one(score, size, SIGNALS[signal], "implied")


def _told(receipt: Receipt, good: float, share: float) -> Iterator[Named]:
    said: Mapping[str, Any] = receipt.decision
    score = shipped_of(said.get("complexity", {}))
    if score is not None and receipt.status == 200:
        yield receipt.key, _one(score, receipt.tier, (good, share), "outcome")


def shipped_of(said: Mapping[str, Any]) -> Sequence[float] | None:
    """What the shipped weights said (small, gain, enough), from a recorded score."""
    if "gain" not in said:
        return None
    return said.get("shipped") or (said["p_small"], said["gain"], said["small_is_enough"])


def _one(score: Sequence[float], size: str, word: tuple[float, float], source: str) -> Example:
    """A word (how good, what it counts) on one answer."""
    good, weight = word
    small, large = (good, None) if size == SMALL else (None, good)
    return Example(score[0], score[1], score[2], small, large, weight, {}, source=source)


def moved(rows: Iterable[Logged], correction: Correction) -> Iterator[Logged]:
    """Served requests as corrected weights would have judged them.

    Receipts hold no features, so each is moved as a question with average ones.
    """
    small, gain = correction.heads["small"].typical, correction.heads["gain"].typical
    for row in rows:
        first = probability(log_odds(row.guess_small) + small)
        added = row.gain + gain
        last = min(0.999, max(0.001, first + added))
        yield replace(row, guess_small=first, guess_large=last, gain=added)
