"""A replay's sums: what was paid, what would have been, who would have been served otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from billing.accounts import Accounts
from billing.money import usd
from billing.receipt import iso_ms
from gateway.replay import Replay, Replayed
from gateway.replay_budgets import earliest_ms
from gateway.replay_log import Range, count, first_ms, receipts, spends
from gateway.snapshot import Snapshot
from gateway.tables import money

_SHOWN = 12
_EXAMPLES = 20


@dataclass(slots=True)
class Sums:
    """Requests of one group; money in nano-USD, ``would_nano`` over the same requests."""

    requests: int = 0
    paid_nano: int = 0
    would_nano: int = 0

    def add(self, paid: int, would: int) -> None:
        """One request more."""
        self.requests += 1
        self.paid_nano += paid
        self.would_nano += would

    def row(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "requests": self.requests,
            "paid_usd": usd(self.paid_nano),
            "would_pay_usd": usd(self.would_nano),
            "difference_usd": usd(self.would_nano - self.paid_nano),
        }


@dataclass(slots=True)
class Outcome:
    """A whole replay.

    ``served`` and ``refused`` partition the replayed requests; ``unrecorded`` have no record
    to replay; ``unpriced`` are replayed but of unknown cost, so left out of all sums.
    ``drifted``: plans that differ though policy, prices and catalog are those of the receipt.
    """

    policy: str
    replayed: int = 0
    same: int = 0
    unrecorded: int = 0
    unpriced: int = 0
    drifted: int = 0
    same_policy: int = 0
    total: Sums = field(default_factory=Sums)
    refused: Sums = field(default_factory=Sums)
    by_action: dict[str, Sums] = field(default_factory=dict)
    by_model: dict[str, Sums] = field(default_factory=dict)
    by_team: dict[str, Sums] = field(default_factory=dict)
    refusals: dict[str, Sums] = field(default_factory=dict)
    changes: dict[str, Sums] = field(default_factory=dict)
    examples: list[dict[str, object]] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None

    def add(self, found: Replayed, snapshot: Snapshot) -> None:
        """One replayed request more."""
        receipt = found.receipt
        self.first_ms = receipt.at_ms if self.first_ms is None else self.first_ms
        self.last_ms = receipt.at_ms
        if found.was is None:
            self.unrecorded += 1
            return
        self.replayed += 1
        self.same += found.same
        self.same_policy += receipt.policy_hash == snapshot.settings.hash
        if not found.same and self._as_it_was(found, snapshot):
            self.drifted += 1
        if found.cost_nano is None:
            self.unpriced += 1
            return
        self._sum(found, found.cost_nano)
        if not found.same and len(self.examples) < _EXAMPLES:
            self.examples.append(example(found))

    def _as_it_was(self, found: Replayed, snapshot: Snapshot) -> bool:
        then = found.receipt.policy_hash, found.receipt.prices_hash, found.receipt.catalog_hash
        return then == (snapshot.settings.hash, snapshot.prices.hash, snapshot.catalog_hash)

    def _sum(self, found: Replayed, would: int) -> None:
        receipt = found.receipt
        served = found.now.model if found.now else "(refused)"
        groups = [
            self.total,
            self.by_action.setdefault(found.action, Sums()),
            self.by_model.setdefault(served, Sums()),
            self.by_team.setdefault(receipt.team, Sums()),
        ]
        if found.refused is not None:
            groups += [self.refused, self.refusals.setdefault(found.refused, Sums())]
        elif not found.same:
            groups.append(self.changes.setdefault(_change(found), Sums()))
        for sums in groups:
            sums.add(receipt.cost_nano, would)


def _change(found: Replayed) -> str:
    receipt = found.receipt
    now = found.now.model if found.now else ""
    return f"{receipt.action} {receipt.served_model} -> {found.action} {now}"


def example(found: Replayed) -> dict[str, object]:
    """One request whose plan would have been another."""
    receipt = found.receipt
    return {
        "request_id": receipt.request_id,
        "at": iso_ms(receipt.at_ms),
        "key": receipt.key,
        "was": {"action": receipt.action, "model": receipt.served_model, "arm": receipt.arm},
        "now": {
            "action": found.action,
            "model": found.now.model if found.now else None,
            "arm": found.arm or None,
            "refused": found.refused,
            "why": found.why or None,
        },
        "paid_usd": usd(receipt.cost_nano),
        "would_pay_usd": None if found.cost_nano is None else usd(found.cost_nano),
    }


def replayed(
    snapshot: Snapshot,
    url: str,
    span: Range,
    limit: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> Outcome:
    """Every receipt of a span under a snapshot's policy, oldest first.

    Raises:
        LedgerUnavailable: the ledger cannot be read.
    """
    outcome = Outcome(snapshot.settings.hash)
    start = first_ms(url, span)
    if start is None:
        return outcome
    replay = Replay(snapshot, _before(snapshot.accounts, url, start), start)
    for receipt in receipts(url, span, limit):
        outcome.add(replay.one(receipt), snapshot)
        step()
    return outcome


def _before(accounts: Accounts, url: str, start_ms: int) -> Iterable[Any]:
    return spends(url, Range(earliest_ms(accounts, start_ms), start_ms))


def how_many(url: str, span: Range, limit: int | None) -> int:
    """How many receipts a replay will read."""
    found = count(url, span)
    return found if limit is None else min(found, limit)


def to_json(outcome: Outcome) -> dict[str, object]:
    """The outcome as JSON; money as decimal USD."""

    def rows(groups: Mapping[str, Sums]) -> dict[str, object]:
        return {name: sums.row() for name, sums in sorted(groups.items())}

    return {
        "policy": outcome.policy,
        "from": None if outcome.first_ms is None else iso_ms(outcome.first_ms),
        "to": None if outcome.last_ms is None else iso_ms(outcome.last_ms),
        "replayed": outcome.replayed,
        "same_plan": outcome.same,
        "recorded_under_this_policy": outcome.same_policy,
        "drifted": outcome.drifted,
        "unrecorded": outcome.unrecorded,
        "unpriced": outcome.unpriced,
        "total": outcome.total.row(),
        "refused": outcome.refused.row(),
        "by_action": rows(outcome.by_action),
        "by_model": rows(outcome.by_model),
        "by_team": rows(outcome.by_team),
        "refusals": rows(outcome.refusals),
        "changes": rows(outcome.changes),
        "examples": outcome.examples,
    }


def print_outcome(outcome: Outcome, console: Console) -> None:
    """The outcome for a person at a terminal."""
    console.print(
        f"[bold]{outcome.replayed:,} requests[/] replayed under policy {outcome.policy[:19]}; "
        f"[bold]{outcome.same:,}[/] get the plan that they had"
    )
    for said, number in (
        ("have no record of their decision (older than this version) and are left out",
         outcome.unrecorded),
        ("would be served by a model without a price and are left out of the sums",
         outcome.unpriced),
        ("differ though policy, prices and catalog are the same: please report this",
         outcome.drifted),
    ):  # fmt: skip
        if number:
            console.print(f"[yellow]{number:,} {said}[/]")
    if not outcome.replayed:
        return
    _print(console, "under this policy", outcome.by_action, outcome.total)
    if outcome.refusals:
        _print(console, "refused", outcome.refusals, outcome.refused)
    if outcome.changes:
        _print(console, "what changes", outcome.changes, None)
    if len(outcome.by_team) > 1:
        _print(console, "team", outcome.by_team, None)


def _print(console: Console, title: str, groups: Mapping[str, Sums], total: Sums | None) -> None:
    table = Table(box=None, header_style="dim", title_justify="left")
    table.add_column(title, overflow="fold")
    for name in ("requests", "paid USD", "would pay USD", "difference"):
        table.add_column(name, justify="right")
    order = sorted(groups.items(), key=lambda item: -abs(item[1].would_nano - item[1].paid_nano))
    for name, sums in order[:_SHOWN]:
        _row(table, name, sums)
    if len(order) > _SHOWN:
        rest = Sums()
        for _, sums in order[_SHOWN:]:
            rest.requests += sums.requests
            rest.paid_nano += sums.paid_nano
            rest.would_nano += sums.would_nano
        _row(table, f"{len(order) - _SHOWN} more", rest)
    if total is not None:
        _row(table, "total", total, "bold")
    console.print(table)


def _row(table: Table, name: str, sums: Sums, style: str = "") -> None:
    difference = sums.would_nano - sums.paid_nano
    table.add_row(
        name, f"{sums.requests:,}", money(sums.paid_nano), money(sums.would_nano),
        f"{'+' if difference > 0 else ''}{money(difference)}", style=style,
    )  # fmt: skip
