"""Thresholds of a budget window and the actions they call for.

A ladder is a list of rungs. A rung holds when its threshold is reached in a window; all
rungs that hold, over all windows of a request's ancestors, add up to one ``Brake``, in
which the hardest of each kind wins. Actions touch new requests only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from billing.budget import WindowFigures
from billing.record import record

ROUTES = ("cheaper", "long", "mid", "small")
"""Mildest first."""
COMPRESSIONS = ("soft", "hard")
_UNITS_MS = {"m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_USED = re.compile(r"^(\d{1,3})\s*%$")
_PACE = re.compile(r"^pace\s+(\d{1,4})\s*%$")
_BURN = re.compile(r"^burn\s+(\d{1,4})x\s+in\s+(\d+)\s*(min|m|h|d)$")
_PERCENT = re.compile(r"^(\d{1,3})\s*%$")
_PACE_FROM = 20
"""A forecast needs a twentieth of the window behind it."""


@record(frozen=True, slots=True)
class Used:
    """Spent and held have reached ``percent`` of the limit."""

    percent: int


@record(frozen=True, slots=True)
class Pace:
    """At the window's mean rate so far it will end at ``percent`` of the limit or more."""

    percent: int


@record(frozen=True, slots=True)
class Burn:
    """The last ``span_ms`` spent ``times`` what an even spend of the limit would."""

    times: int
    span_ms: int


Threshold = Used | Pace | Burn


@record(frozen=True, slots=True)
class Brake:
    """What new requests must put up with; everything at its default is no brake.

    ``throttle_percent``: share of requests to let pass, 100 is all. ``reject`` is the
    HTTP-free code "budget" or "rate", or None. ``notify`` names the rungs that want a
    message; ``approve``: only with a grant.
    """

    route: str | None = None
    compress: str | None = None
    max_output: int | None = None
    throttle_percent: int = 100
    reject: str | None = None
    approve: bool = False
    notify: tuple[str, ...] = ()

    def __or__(self, other: Brake) -> Brake:
        """Both, the harder of each kind."""
        outputs = [cap for cap in (self.max_output, other.max_output) if cap is not None]
        return Brake(
            _harder(ROUTES, self.route, other.route),
            _harder(COMPRESSIONS, self.compress, other.compress),
            min(outputs) if outputs else None,
            min(self.throttle_percent, other.throttle_percent),
            _harder(("rate", "budget"), self.reject, other.reject),
            self.approve or other.approve,
            tuple(dict.fromkeys(self.notify + other.notify)),
        )

    def without(self, forbidden: frozenset[str]) -> Brake:
        """This brake less the actions that a node forbids for good."""
        kept = self
        if forbidden & {"downgrade", "route"}:
            kept = replace(kept, route=None)
        if forbidden & {"compress", "trim"}:
            kept = replace(kept, compress=None)
        return kept


@record(frozen=True, slots=True)
class Rung:
    """One threshold and its actions."""

    threshold: Threshold
    brake: Brake
    text: str
    notify: bool = False


@record(frozen=True, slots=True)
class Ladder:
    """Named rungs."""

    name: str
    rungs: tuple[Rung, ...]

    @property
    def refuses_as_rate(self) -> bool:
        """Whether it says `reject: 429`: its clients are told of money as of a rate."""
        return any(rung.brake.reject == "rate" for rung in self.rungs)

    @property
    def burn_span_ms(self) -> int:
        """The longest look back that any rung needs; 0 for none."""
        spans = [r.threshold.span_ms for r in self.rungs if isinstance(r.threshold, Burn)]
        return max(spans, default=0)


@record(frozen=True, slots=True)
class Reading:
    """A window's figures at an instant; ``recent`` spend by look-back length, nano-USD."""

    figures: WindowFigures
    at_ms: int
    recent: Mapping[int, int] = field(default_factory=dict)


def brake(ladder: Ladder, readings: Iterable[Reading]) -> Brake:
    """All rungs of a ladder that hold in any of the windows, added up."""
    total = Brake()
    for reading in readings:
        for rung in ladder.rungs:
            if reached(rung.threshold, reading):
                total |= rung.brake
                if rung.notify:
                    label = f"{reading.figures.budget} {rung.text}"
                    total |= Brake(notify=(label,))
    return total


def reached(threshold: Threshold, reading: Reading) -> bool:
    """Whether a threshold is reached in a window; integer arithmetic throughout."""
    figures = reading.figures
    length = figures.window.end_ms - figures.window.start_ms
    elapsed = min(max(reading.at_ms - figures.window.start_ms, 0), length)
    match threshold:
        case Used(percent=percent):
            used = figures.spent_nano + figures.held_nano
            return used * 100 >= figures.limit_nano * percent
        case Pace(percent=percent):
            if elapsed * _PACE_FROM < length:
                return False
            return figures.spent_nano * length * 100 >= figures.limit_nano * percent * elapsed
        case Burn(times=times, span_ms=span):
            spent = reading.recent.get(span, 0)
            return spent > 0 and spent * length >= figures.limit_nano * times * span


def parse_ladder(name: str, rungs: Mapping[str, object]) -> Ladder:
    """A ladder from policy: threshold text to one action or a list of them.

    Raises:
        ValueError: an unknown threshold or action, by name, with what is allowed.
    """
    parsed = []
    for text, actions in rungs.items():
        listed = actions if isinstance(actions, list | tuple) else [actions]
        total, notify = Brake(), False
        for action in listed:
            if action == "notify":
                notify = True
            else:
                total |= _action(action)
        parsed.append(Rung(_threshold(str(text)), total, str(text), notify))
    return Ladder(name, tuple(parsed))


def _threshold(text: str) -> Threshold:
    wanted = text.strip().lower()
    if found := _USED.match(wanted):
        return Used(int(found[1]))
    if found := _PACE.match(wanted):
        return Pace(int(found[1]))
    if found := _BURN.match(wanted):
        return Burn(int(found[1]), int(found[2]) * _UNITS_MS[found[3]])
    raise ValueError(f"{text!r} is no threshold; write `80%`, `pace 130%` or `burn 8x in 1h`")


def _action(action: object) -> Brake:
    """One action as a brake."""
    if action == "reject":
        return Brake(reject="budget")
    if action == "approve":
        return Brake(approve=True)
    if isinstance(action, Mapping) and len(action) == 1:
        ((kind, value),) = action.items()
        known = _valued(str(kind), value)
        if known is not None:
            return known
    raise ValueError(
        f"{action!r} is no action; write notify, `route: cheaper` (or a tier), `compress: soft` "
        f"or `hard`, `max_output: 2000`, `throttle: 50%`, approve, reject or `reject: 429`"
    )


def _valued(kind: str, value: object) -> Brake | None:
    """An action with a value as a brake, or None where there is no such."""
    found_brake: Brake | None = None
    match kind, value:
        case "route", str() if value in ROUTES:
            found_brake = Brake(route=value)
        case "compress", str() if value in COMPRESSIONS:
            found_brake = Brake(compress=value)
        case "max_output", int() if value > 0 and not isinstance(value, bool):
            found_brake = Brake(max_output=value)
        case "throttle", str() if (found := _PERCENT.match(value)) and int(found[1]) <= 100:
            found_brake = Brake(throttle_percent=int(found[1]))
        case "reject", 402 | 429:
            found_brake = Brake(reject="budget" if value == 402 else "rate")
    return found_brake


def _harder(order: tuple[str, ...], left: str | None, right: str | None) -> str | None:
    """The later in the order; None is mildest."""
    return max(left, right, key=lambda name: -1 if name is None else order.index(name))
