"""What a valid policy still says wrongly: findings about budgets, ladders and keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from billing.accounts import ORGANISATION, Accounts, Node, VirtualKey
from billing.budget import Span
from billing.ladder import Brake, Ladder
from billing.money import usd
from billing.policy_schema import TeamConfig


@dataclass(frozen=True, slots=True)
class Lint:
    """One finding: ``error`` will not do what was meant, a warning may."""

    where: str
    text: str
    error: bool = False


def lint(accounts: Accounts, at: datetime) -> list[Lint]:
    """Every finding, errors first."""
    found = [
        *_sums(accounts),
        *_ladders(accounts),
        *_unused(accounts),
        *_keys(accounts, at),
        *_budgets(accounts),
    ]
    return sorted(found, key=lambda one: not one.error)


def _sums(accounts: Accounts) -> Iterator[Lint]:
    """Children whose budgets of one kind sum to more than their parent's."""
    children: dict[str, list[Node]] = defaultdict(list)
    for node in accounts.nodes.values():
        if node.id != ORGANISATION:
            children[node.id.rpartition("/")[0] or ORGANISATION].append(node)
    for parent_id, nodes in children.items():
        for budget in accounts.nodes[parent_id].budgets:
            if budget.span is Span.REQUEST or budget.per_user:
                continue
            same = [b.limit_nano for n in nodes for b in n.budgets if b.label == budget.label]
            if sum(same) > budget.limit_nano:
                text = (
                    f"its parts may spend {usd(sum(same))} USD together, more than its own "
                    f"{usd(budget.limit_nano)} USD: whoever is first gets it"
                )
                yield Lint(f"{parent_id}/{budget.label}", text)


def _ladders(accounts: Accounts) -> Iterator[Lint]:
    """Ladders all of whose brakes a key's own rules forbid."""
    for key in accounts.keys.values():
        if key.ladder is None:
            continue
        brakes = [replace(rung.brake, notify=()) for rung in key.ladder.rungs]
        if not any(brake != Brake() for brake in brakes):
            continue
        if all(brake.without(key.forbid) == Brake() for brake in brakes):
            text = (
                f"every brake of ladder {key.ladder.name!r} is forbidden here "
                f"(forbid: {', '.join(sorted(key.forbid))}): nothing slows it down before the "
                f"limit. Add `throttle`, `max_output`, `approve` or `reject`"
            )
            yield Lint(key.path[-1], text, error=True)
        elif not any(budget for node in key.path for budget in accounts.nodes[node].budgets):
            text = f"ladder {key.ladder.name!r} never acts: no budget on the way to this key"
            yield Lint(key.path[-1], text)


def _unused(accounts: Accounts) -> Iterator[Lint]:
    used = {node.ladder.name for node in accounts.nodes.values() if node.ladder is not None}
    for name, ladder in accounts.config.ladders.items():
        if name not in used:
            yield Lint(f"ladders.{name}", "no `at:` names it")
        yield from _rungs(name, ladder)


def _rungs(name: str, ladder: Ladder) -> Iterator[Lint]:
    for rung in ladder.rungs:
        if rung.brake == Brake() and not rung.notify:
            yield Lint(f"ladders.{name}.{rung.text}", "does nothing")


def _keys(accounts: Accounts, at: datetime) -> Iterator[Lint]:
    for key in accounts.keys.values():
        if key.revoked:
            yield Lint(f"keys.{key.name}", "is revoked: it can be taken out")
        elif key.expires is not None and key.expires <= at:
            yield Lint(f"keys.{key.name}", f"expired on {key.expires.date()}")
        if _nothing_allowed(key):
            yield Lint(
                f"keys.{key.name}", "`allow` of its levels have nothing in common", error=True
            )
    for name, team in accounts.config.teams.items():
        if not _any_key(team):
            yield Lint(f"teams.{name}", "has no keys: nobody can spend its budget")


def _nothing_allowed(key: VirtualKey) -> bool:
    """Levels that each name models (not tiers) and share none."""
    tiers = {"small", "mid", "long"}
    named = [level for level in key.allow if not level & tiers]
    return bool(named) and not frozenset.intersection(*named)


def _any_key(team: TeamConfig) -> bool:
    return bool(team.keys) or any(project.keys for project in team.projects.values())


def _budgets(accounts: Accounts) -> Iterator[Lint]:
    for node in accounts.nodes.values():
        labels = [budget.label for budget in node.budgets]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            text = "is budgeted twice: only one of the two counts"
            yield Lint(f"{node.id}/{label}", text, error=True)
        for budget in node.budgets:
            if budget.limit_nano == 0:
                where = "the organisation" if node.id == ORGANISATION else node.id
                yield Lint(f"{node.id}/{budget.label}", f"is 0: {where} can send nothing")
