"""`weir policy explain`: which node of the policy said what for one key.

Ceilings all count. Permissions intersect, what is forbidden adds up, preferences are the
nearest node's: every row names its node, its place in the file, and whether it is the one
that decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.accounts import DEFAULT_TEAM, ORGANISATION, VirtualKey
from billing.budget import Budget, Span, local_minute, window_at
from billing.ladder import Brake, Rung
from billing.money import rate_text, usd
from billing.policy_schema import KeyConfig, NodeConfig, TeamConfig
from billing.reader import epoch_ms
from gateway.errors import InvalidRequest
from gateway.prepare import check_model, route_policy
from gateway.snapshot import Snapshot
from router.catalog import effective
from router.need import Need, NeedKind
from router.plan import Tier
from router.policy import RoutePolicy
from router.quality import RANK

_LIMITS = ("max_request", "max_output", "rpm", "tpm", "concurrency")


@dataclass(frozen=True, slots=True)
class Level:
    """A node on the way to a key: its id, its place in the file, and what it says."""

    node: str
    where: str
    says: NodeConfig


def explain_policy(
    snapshot: Snapshot, key_name: str, model: str | None, now: datetime
) -> dict[str, Any]:
    """All that holds for a key, and for one model if it is named, as JSON.

    Raises:
        InvalidRequest: no such key. UnknownModel: no such model.
    """
    accounts = snapshot.accounts
    key = accounts.named(key_name)
    if key is None:
        known = ", ".join(k.name for k in accounts.keys.values()) or "none"
        raise InvalidRequest(f"no key {key_name!r} in the configuration; known: {known}")
    path = levels(snapshot, key)
    policy = route_policy(snapshot, key)
    found: dict[str, Any] = {
        "key": key.name,
        "path": list(key.path),
        "usable": key.usable(now),
        "revoked": key.revoked,
        "expires": key.expires.isoformat() if key.expires else None,
        "ceilings": _ceilings(snapshot, path, epoch_ms(now)),
        "limits": _limits(path),
        "permissions": _permissions(path),
        "forbid": [
            {"action": action, "node": level.node, "where": level.where + "forbid"}
            for level in path
            for action in level.says.forbid
        ],
        "preferences": [*_preferences(path, key), *_routing(snapshot, key, path)],
        "ladder": _ladder(path, key),
        "result": _result(policy),
        "policy": snapshot.settings.hash,
    }
    names = list(snapshot.settings.models) if model is None else [model]
    found["models"] = [_model(snapshot, path, name, now) for name in names]
    if model is not None:
        check_model(snapshot, model)
        found["may_go_to"] = _may_go_to(snapshot, policy, model)
    return found


def levels(snapshot: Snapshot, key: VirtualKey) -> list[Level]:
    """The nodes from the organisation down to a key, with what each says in the file."""
    config = snapshot.accounts.config
    top = NodeConfig(
        budget=config.budget,
        at=config.at,
        limits=config.limits,
        holdout=config.holdout,
        record=config.record,
    )
    found = [Level(ORGANISATION, "", top)]
    team = config.teams.get(key.team)
    if team is None:
        found.append(Level(DEFAULT_TEAM, "", TeamConfig()))
    else:
        found.append(Level(key.team, f"teams.{key.team}.", team))
        if key.project is not None:
            where = f"teams.{key.team}.projects.{key.project}."
            found.append(Level(f"{key.team}/{key.project}", where, team.projects[key.project]))
    entry: KeyConfig = config.keys[key.name]
    own = NodeConfig(budget=entry.budget, limits=entry.limits)
    return [*found, Level(key.path[-1], f"keys.{key.name}.", own)]


def _ceilings(snapshot: Snapshot, path: list[Level], now_ms: int) -> list[dict[str, object]]:
    """Every budget with the window that is open now."""
    rows: list[dict[str, object]] = []
    for level in path:
        zone = snapshot.accounts.nodes[level.node].zone
        for budget in level.says.budget:
            window = window_at(budget, now_ms, zone)
            row: dict[str, object] = {
                "node": level.node,
                "where": level.where + "budget",
                "budget": budget.label,
                "limit_usd": usd(budget.limit_nano),
                "says": _budget_text(budget),
            }
            if budget.span is not Span.REQUEST:
                row["from"] = local_minute(window.start_ms, zone)
                row["until"] = local_minute(window.end_ms, zone)
            rows.append(row)
    return rows


def _budget_text(budget: Budget) -> str:
    who = " per user" if budget.per_user else ""
    name = budget.label.removeprefix("user/").replace("rolling-", "rolling ")
    return f"{usd(budget.limit_nano)} USD{who} per {name}"


def _limits(path: list[Level]) -> list[dict[str, object]]:
    """Every other ceiling; the tightest on the path decides, rates count at each node."""
    rows: list[dict[str, object]] = []
    for name in _LIMITS:
        said = [(level, getattr(level.says.limits, name)) for level in path]
        said = [(level, value) for level, value in said if value is not None]
        tightest = min((value for _, value in said), default=None)
        rows.extend(
            {
                "limit": name,
                "value": value if isinstance(value, int) else str(value),
                "node": level.node,
                "where": f"{level.where}limits.{name}",
                "decides": value == tightest,
            }
            for level, value in said
        )
    return rows


def _permissions(path: list[Level]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for level in path:
        if level.says.allow is not None:
            rows.append(
                {
                    "permission": "allow",
                    "says": list(level.says.allow),
                    "node": level.node,
                    "where": level.where + "allow",
                }
            )
        if level.says.region is not None:
            rows.append(
                {
                    "permission": "region",
                    "says": [level.says.region],
                    "node": level.node,
                    "where": level.where + "region",
                }
            )
    return rows


def _preferences(path: list[Level], key: VirtualKey) -> Iterator[dict[str, object]]:
    """Preferences, nearest last; only the nearest one of a name decides."""
    said: list[tuple[str, object, Level, str]] = []
    for level in path:
        if level.says.at is not None:
            said.append(("at", level.says.at, level, "at"))
        if level.says.holdout is not None:
            share = f"{level.says.holdout * 100:f}".rstrip("0").rstrip(".") or "0"
            said.append(("holdout", f"{share}% of sessions", level, "holdout"))
        if level.says.record is not None:
            days = level.says.record.bodies / 86_400
            kept = f"{days:g} days" if days else "never"
            said.append(("record.bodies", kept, level, "record.bodies"))
        said.extend(
            (f"prefer.{name}", value, level, f"prefer.{name}")
            for name, value in level.says.prefer.items()
        )
        if isinstance(level.says, TeamConfig) and level.says.baseline is not None:
            said.append(("baseline", level.says.baseline, level, "baseline"))
    nearest = {name: level.node for name, _, level, _ in said}
    for name, value, level, place in said:
        yield {
            "preference": name,
            "value": value,
            "node": level.node,
            "where": level.where + place,
            "decides": nearest[name] == level.node,
        }


def _routing(snapshot: Snapshot, key: VirtualKey, path: list[Level]) -> Iterator[dict[str, object]]:
    """The organisation's routing and fit, which a node below narrows or not."""
    settings = snapshot.settings
    fit_word = str(key.prefer.get("fit")) if "fit" in key.prefer else None
    rows: list[tuple[str, object, bool]] = [
        ("routing.mode", settings.routing.mode, True),
        ("routing.baseline", snapshot.default_model(), key.baseline is None),
        ("routing.quality.floor", f"{settings.routing.quality.floor:.0%} of requested", True),
        ("routing.quality.unproven", settings.routing.quality.unproven, True),
        ("fit.allow", list(settings.fit.allow), fit_word in {None, "hard"}),
        ("fit.keep_recent", settings.fit.keep_recent, fit_word != "hard"),
        ("fit.ratio", settings.fit.ratio, fit_word != "hard"),
    ]
    for name, value, decides in rows:
        yield {
            "preference": name,
            "value": value,
            "node": path[0].node,
            "where": name,
            "decides": decides,
        }


def _ladder(path: list[Level], key: VirtualKey) -> dict[str, object] | None:
    """The nearest ladder's rungs, less what is forbidden."""
    if key.ladder is None:
        return None
    nearest = [level for level in path if level.says.at is not None][-1]
    return {
        "ladder": key.ladder.name,
        "node": nearest.node,
        "where": f"ladders.{key.ladder.name}",
        "rungs": [_rung(rung, key.forbid) for rung in key.ladder.rungs],
    }


def _rung(rung: Rung, forbid: frozenset[str]) -> dict[str, object]:
    wanted = _actions(rung.brake)
    kept = _actions(rung.brake.without(forbid))
    return {
        "at": rung.text,
        "actions": [*(["notify"] if rung.notify else []), *kept],
        "forbidden": [action for action in wanted if action not in kept],
    }


def _actions(brake: Brake) -> list[str]:
    """A brake in the policy's own words."""
    said = [
        f"route: {brake.route}" if brake.route else "",
        f"compress: {brake.compress}" if brake.compress else "",
        f"max_output: {brake.max_output}" if brake.max_output else "",
        f"throttle: {brake.throttle_percent}%" if brake.throttle_percent < 100 else "",
        "approve" if brake.approve else "",
        {"budget": "reject", "rate": "reject: 429"}.get(brake.reject or "", ""),
    ]
    return [one for one in said if one]


def _result(policy: RoutePolicy) -> dict[str, object]:
    """What a decision gets: everything above, narrowed to this key."""
    return {
        "mode": policy.mode,
        "baseline": policy.baseline,
        "floor": policy.floor,
        "unproven": policy.unproven,
        "ways": [way.value for way in policy.ways()],
        "keep_recent": policy.keep_recent,
        "ratio": policy.ratio,
        "forbid": sorted(policy.forbid),
    }


def _model(snapshot: Snapshot, path: list[Level], name: str, now: datetime) -> dict[str, object]:
    """One declared model as the key may use it."""
    check_model(snapshot, name)
    if name == "auto":
        return {"model": "auto", "allowed": True, "denied_by": []}
    entry, card = snapshot.settings.models[name], snapshot.cards[name]
    denied = [
        level.node
        for level in path
        if level.says.allow is not None and not {name, entry.tier.value} & set(level.says.allow)
    ]
    option = next(
        o
        for o in snapshot.options(next(iter(snapshot.accounts.keys.values())), epoch_ms(now))
        if o.name == name
    )
    rates = option.price.rates if option.price else {}
    return {
        "model": name,
        "tier": entry.tier.value,
        "upstream": entry.upstream,
        "allowed": not denied,
        "denied_by": denied,
        "priced": option.price is not None,
        "usd_per_mtok": {part: rate_text(rate.at(0)) for part, rate in sorted(rates.items())},
        "window": card.window if card.window_known else None,
        "effective_context": {
            "literal": effective(card, Need(NeedKind.LOOKUP, 1.0, identifiers=True)),
            "semantic": effective(card, Need(NeedKind.LOOKUP, 1.0)),
            "multi": effective(card, Need(NeedKind.SYNTHESIS, 1.0)),
            "confidence": card.confidence,
        },
        "fallbacks": list(entry.fallbacks),
    }


def _may_go_to(snapshot: Snapshot, policy: RoutePolicy, model: str) -> list[dict[str, object]]:
    """Which other models may answer a request for ``model``, and when."""
    models = snapshot.settings.models
    ceiling = models[policy.baseline or model if model == "auto" else model]
    rows: list[dict[str, object]] = []
    for name, entry in models.items():
        if name == model:
            continue
        long = entry.tier is Tier.LONG
        if not policy.permits(name, entry.tier):
            when, ok = "never: not allowed for this key", False
        elif "route" in policy.forbid:
            when, ok = "never: routing is forbidden", False
        elif RANK[entry.tier] < RANK[ceiling.tier]:
            ok = "downgrade" not in policy.forbid
            when = "where its quality is proven enough" if ok else "never: downgrade is forbidden"
        elif long:
            when, ok = "where the prompt is beyond what the asked-for model reads well", True
        elif model == "auto":
            when, ok = "where it is cheaper", True
        else:
            when, ok = "never: not below the model asked for", False
        rows.append({"model": name, "tier": entry.tier.value, "ok": ok, "when": when})
    return rows
