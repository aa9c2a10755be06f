"""Who pays: organisation, teams, projects, keys, as a frozen tree built from the policy.

Three kinds of rule come down the tree. Ceilings (budgets, limits) all count, the tightest
wins. Permissions (``allow``, ``region``) intersect; ``forbid`` adds up and is permanent.
Preferences (``at``, ``prefer``, ``holdout``, ``record``) are taken from the nearest node that
has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from billing.budget import Budget
from billing.ladder import Ladder
from billing.money import nano
from billing.policy_schema import BillingSection, KeyConfig, Limits, NodeConfig, TeamConfig

__all__ = [
    "Accounts",
    "BillingSection",
    "Node",
    "VirtualKey",
    "build_accounts",
]

ORGANISATION = "organisation"
DEFAULT_TEAM = "default"


@dataclass(frozen=True, slots=True)
class Node:
    """One node: ``id`` is unique (``support/chat``), ``zone`` that of its windows."""

    id: str
    budgets: tuple[Budget, ...]
    limits: Limits
    zone: ZoneInfo
    ladder: Ladder | None = None


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """A key with everything that comes down the tree to it.

    ``path`` are node ids from the organisation to the key. ``allow``: one set a level, of
    model names and tiers. ``limits``: (node id, its limits) for every node that has any.
    ``max_request_nano`` and ``max_output`` are the tightest on the path; ``keep_bodies_s`` is
    how long bodies are kept, 0 for not at all.
    """

    name: str
    sha256: str
    path: tuple[str, ...]
    team: str
    project: str | None
    allow: tuple[frozenset[str], ...] = ()
    forbid: frozenset[str] = frozenset()
    prefer: Mapping[str, str | int | bool] = field(default_factory=dict)
    holdout: Decimal = Decimal(0)
    region: str | None = None
    ladder: Ladder | None = None
    max_request_nano: int | None = None
    max_output: int | None = None
    limits: tuple[tuple[str, Limits], ...] = ()
    baseline: str | None = None
    cost_center: str | None = None
    keep_bodies_s: int = 0
    revoked: bool = False
    expires: datetime | None = None

    def allows(self, model: str, tier: str = "") -> bool:
        """Whether every level allows a model, by its name or its tier."""
        return all(model in level or tier in level for level in self.allow)

    def usable(self, at: datetime) -> bool:
        """Whether the key is neither revoked nor expired at an instant."""
        return not self.revoked and (self.expires is None or at < self.expires)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The whole tree, immutable; ``config`` is what it was built from."""

    config: BillingSection
    zone: ZoneInfo
    nodes: Mapping[str, Node]
    keys: Mapping[str, VirtualKey]

    def key(self, sha256: str) -> VirtualKey | None:
        """The key whose secret has this SHA-256 (hex), or None. Revoked keys are returned."""
        return self.keys.get(sha256.lower())

    def named(self, name: str) -> VirtualKey | None:
        """The key of this name, or None."""
        return next((key for key in self.keys.values() if key.name == name), None)

    @property
    def finest_ms(self) -> int:
        """The finest resolution that any rolling budget looks back with."""
        sizes = [
            budget.bucket_ms
            for node in self.nodes.values()
            for budget in node.budgets
            if budget.rolling_ms
        ]
        return min(sizes, default=60_000)

    def along(self, path: tuple[str, ...]) -> Iterator[Node]:
        """The nodes of a path that still exist, from the organisation down."""
        for node_id in path:
            node = self.nodes.get(node_id)
            if node is not None:
                yield node


def build_accounts(config: BillingSection) -> Accounts:
    """The tree of a policy.

    Raises:
        ValueError: a key in two places or in none, an unknown key or ladder, two keys with
            one hash, regions that exclude each other; the message names the fix.
    """
    return _Builder(config).build()


@dataclass(frozen=True, slots=True)
class _Level:
    """A node of the policy on its way down."""

    id: str
    said: NodeConfig


class _Builder:
    """Walks the policy once, from the organisation to the keys."""

    def __init__(self, config: BillingSection) -> None:
        self._config = config
        self._nodes: dict[str, Node] = {}
        self._keys: dict[str, VirtualKey] = {}
        self._placed: dict[str, str] = {}

    def build(self) -> Accounts:
        """The finished tree."""
        config = self._config
        top = _Level(
            ORGANISATION,
            NodeConfig(
                budget=config.budget,
                at=config.at,
                limits=config.limits,
                holdout=config.holdout,
                record=config.record,
            ),
        )
        zone = ZoneInfo(config.timezone)
        self._node(top, zone, "")
        for name, team in self._teams().items():
            if name == ORGANISATION:
                raise ValueError(f"a team cannot be named {name!r}: it is the whole's own name")
            self._team(top, name, team)
        lost = sorted(config.keys.keys() - self._placed.keys())
        if lost:
            raise ValueError(
                f"keys {', '.join(lost)} belong to no team: list each under `keys:` of one team "
                f"or project, or remove it"
            )
        return Accounts(config, zone, self._nodes, self._keys)

    def _teams(self) -> Mapping[str, TeamConfig]:
        """The teams; with none declared, all keys belong to one."""
        if self._config.teams:
            return self._config.teams
        return {DEFAULT_TEAM: TeamConfig(keys=tuple(self._config.keys))}

    def _team(self, top: _Level, name: str, team: TeamConfig) -> None:
        zone = ZoneInfo(team.timezone or self._config.timezone)
        level = _Level(name, team)
        self._node(level, zone, f"teams.{name}")
        for key in team.keys:
            self._key(key, (top, level), team, zone)
        for child, project in team.projects.items():
            below = _Level(f"{name}/{child}", project)
            self._node(below, zone, f"teams.{name}.projects.{child}")
            for key in project.keys:
                self._key(key, (top, level, below), team, zone)

    def _node(self, level: _Level, zone: ZoneInfo, where: str) -> None:
        ladder = self._ladder(level.said.at, where)
        self._nodes[level.id] = Node(level.id, level.said.budget, level.said.limits, zone, ladder)

    def _ladder(self, name: str | None, where: str) -> Ladder | None:
        if name is None:
            return None
        if name not in self._config.ladders:
            at = f"{where}.at" if where else "at"
            known = ", ".join(sorted(self._config.ladders)) or "none"
            raise ValueError(f"{at}: no ladder {name!r} under `ladders:` (declared: {known})")
        return self._config.ladders[name]

    def _key(self, name: str, levels: tuple[_Level, ...], team: TeamConfig, zone: ZoneInfo) -> None:
        place = levels[-1].id
        entry = self._config.keys.get(name)
        if entry is None:
            raise ValueError(
                f"{place} lists key {name!r}, which `keys:` does not declare: run `weir keys new "
                f"{name}` and add the hash it prints under `keys:`"
            )
        if name in self._placed:
            raise ValueError(
                f"key {name!r} is in {self._placed[name]} and in {place}: keep it in one, and "
                f"make another key for the other"
            )
        if entry.hash in self._keys:
            raise ValueError(
                f"keys {self._keys[entry.hash].name!r} and {name!r} have the same hash: make a "
                f"new one with `weir keys new {name}`"
            )
        self._placed[name] = place
        own = _Level(f"{place}/{name}", NodeConfig(budget=entry.budget, limits=entry.limits))
        self._node(own, zone, f"keys.{name}")
        self._keys[entry.hash] = self._virtual(name, entry, (*levels, own), team)

    def _virtual(
        self, name: str, entry: KeyConfig, levels: tuple[_Level, ...], team: TeamConfig
    ) -> VirtualKey:
        said = [level.said for level in levels]
        limits = [(level.id, level.said.limits) for level in levels]
        requests = [nano(lim.max_request) for _, lim in limits if lim.max_request is not None]
        outputs = [lim.max_output for _, lim in limits if lim.max_output is not None]
        prefer: dict[str, str | int | bool] = {}
        for node in said:
            prefer |= node.prefer
        holdouts = [node.holdout for node in said if node.holdout is not None]
        records = [node.record for node in said if node.record is not None]
        ladders = [self._ladder(node.at, "") for node in said if node.at is not None]
        return VirtualKey(
            name=name,
            sha256=entry.hash,
            path=tuple(level.id for level in levels),
            team=levels[1].id,
            project=levels[2].id.split("/", 1)[1] if len(levels) > 3 else None,
            allow=tuple(frozenset(node.allow) for node in said if node.allow is not None),
            forbid=frozenset(action for node in said for action in node.forbid),
            prefer=prefer,
            holdout=holdouts[-1] if holdouts else Decimal(0),
            region=_region(name, [node.region for node in said if node.region is not None]),
            ladder=ladders[-1] if ladders else None,
            max_request_nano=min(requests, default=None),
            max_output=min(outputs, default=None),
            limits=tuple((node, lim) for node, lim in limits if lim != Limits()),
            baseline=team.baseline,
            cost_center=team.cost_center,
            keep_bodies_s=records[-1].bodies if records else 0,
            revoked=entry.revoked,
            expires=entry.expires,
        )


def _region(key: str, regions: list[str]) -> str | None:
    """The one region of a path; different ones leave nowhere to go."""
    if len(set(regions)) > 1:
        raise ValueError(f"key {key!r}: regions {sorted(set(regions))} exclude each other")
    return regions[0] if regions else None
