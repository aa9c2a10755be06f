"""Approvals: a time-boxed raise of a node's budgets, appended to the ledger.

A grant edits no limit. While it runs, the limits of its node are higher by its amount and
the node's ladder asks for no approval; afterwards everything is as the policy says. The
budgets above the node hold as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from billing.accounts import Accounts, Node
from billing.budget import Budget, Span
from billing.desk import Desk

ALL = "*"
"""A grant for every budget of its node."""


@dataclass(frozen=True, slots=True)
class Grant:
    """``amount_nano`` more for ``node``, in ``[from_ms, until_ms)``.

    ``budget`` is a budget's label (``month``) or ``*``.
    """

    id: str
    node: str
    budget: str
    amount_nano: int
    from_ms: int
    until_ms: int
    granted_by: str
    reason: str

    def runs(self, at_ms: int) -> bool:
        """Whether it is in force at an instant."""
        return self.from_ms <= at_ms < self.until_ms


def append_grant(desk: Desk, grant: Grant) -> None:
    """The grant is in the ledger. Raises LedgerUnavailable."""
    desk.change(
        "INSERT INTO grants (id, node, budget, amount_nano, from_ms, until_ms, granted_by, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        grant.id,
        grant.node,
        grant.budget,
        grant.amount_nano,
        grant.from_ms,
        grant.until_ms,
        grant.granted_by,
        grant.reason,
    )


def grants_until(desk: Desk, at_ms: int) -> tuple[Grant, ...]:
    """Every grant that runs at an instant or will, oldest first. Raises LedgerUnavailable."""
    rows = desk.rows(
        "SELECT id, node, budget, amount_nano, from_ms, until_ms, granted_by, reason FROM grants "
        "WHERE until_ms > ? ORDER BY from_ms, id",
        at_ms,
    )
    return tuple(Grant(*row) for row in rows)


def granted(accounts: Accounts, running: Iterable[Grant]) -> Accounts:
    """The accounts with the limits that running grants give; those of unknown nodes are none."""
    by_node: dict[str, list[Grant]] = {}
    for grant in running:
        by_node.setdefault(grant.node, []).append(grant)
    if not by_node:
        return accounts
    nodes = {
        name: _raised(node, by_node[name]) if name in by_node else node
        for name, node in accounts.nodes.items()
    }
    return replace(accounts, nodes=nodes)


def _raised(node: Node, grants: list[Grant]) -> Node:
    return replace(node, budgets=tuple(_budget(budget, grants) for budget in node.budgets))


def _budget(budget: Budget, grants: list[Grant]) -> Budget:
    if budget.span is Span.REQUEST:
        return budget
    more = sum(grant.amount_nano for grant in grants if grant.budget in (ALL, budget.label))
    return replace(budget, limit_nano=budget.limit_nano + more)


def approved(running: Iterable[Grant], path: tuple[str, ...]) -> bool:
    """Whether a grant runs for any node of a path."""
    return any(grant.node in path for grant in running)
