"""What the gateway remembers of conversations: who answered, what is warm, what has paid.

One a process, bounded, in memory; losing it costs a cache hit, never correctness. A decision
reads it (from any thread); a settled request writes it, on the event loop, as one event, which
`recall_feed` carries to the processes and machines that share the work.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

from billing.errors import PriceMissing
from billing.money import nano
from billing.record import record
from billing.shadow_cache import Prefix
from compressor.measure import Measurement
from compressor.recipe import Way
from gateway.exchange import ChatRequest
from gateway.sessions import Asker, Recalled, Sessions, Turn
from gateway.snapshot import Snapshot
from router.complexity import Complexity, is_open_task
from router.fitting import scale
from router.gate import Realised, SavingsBook
from router.learning import LARGE, SMALL, Escalations, Label, TaskBook, task_of
from router.need import Need
from router.pace import Pace
from router.plan import Tier
from router.thread import (
    REASKED,
    Thread,
    holds_work,
    last_answers,
    refers_back,
    request_number,
)
from router.warmth import (
    NOTHING,
    CacheReport,
    CacheTerms,
    Found,
    Owner,
    WarmBook,
    cache_terms,
    names_of,
)

MILLION = 1_000_000
SOON_MS = 60_000  # how old a prefix is when a conversation goes on quickly
Sources = Mapping[str, tuple[Owner, CacheTerms]]
EXPLORED = ""  # one budget for all keys
AGAIN_MS = 600_000  # the same prompt within it was not answered well


@dataclass(slots=True)
class Goals:
    """Which answers worked towards each client's task, so that its outcome is their label."""

    limit: int = 16_384
    known: OrderedDict[tuple[str, str], dict[tuple[str, str], tuple[float, str]]] = field(
        default_factory=OrderedDict
    )

    def note(self, team: str, goal: str, turn: Turn, key: str) -> None:
        """An answer of ``key`` worked towards a goal."""
        found = self.known.pop((team, goal), {})
        size = SMALL if turn.tier == Tier.SMALL.value else LARGE
        found[turn.task, size] = (turn.promised, key)
        self.known[team, goal] = found
        while len(self.known) > self.limit:
            self.known.popitem(last=False)  # a plain dict would search past what it lost

    def labels(self, team: str, goal: str, word: str, at_ms: int) -> list[Label]:
        """What an outcome (``accepted`` or ``rejected``) says of each kind of answer."""
        found = self.known.get((team, goal), {})
        return [
            Label(task, size, word, key, promised, at_ms)
            for (task, size), (promised, key) in found.items()
        ]


@dataclass(slots=True)
class Recall:
    """The books of a process. Reads come from any thread, ``apply`` from the event loop."""

    sessions: Sessions = field(default_factory=Sessions)
    warm: WarmBook = field(default_factory=WarmBook)
    pace: Pace = field(default_factory=Pace)
    savings: SavingsBook = field(default_factory=SavingsBook)
    tasks: TaskBook = field(default_factory=TaskBook)
    escalations: Escalations = field(default_factory=Escalations)
    tried: Escalations = field(default_factory=Escalations)
    goals: Goals = field(default_factory=Goals)
    _sources: tuple[Snapshot | None, Sources, Sources] = (None, {}, {})

    def _models(self, snapshot: Snapshot, request: ChatRequest) -> Sources:
        """Every model with its owner and the terms of its cache, made once a configuration."""
        known = self._sources
        if known[0] is not snapshot:
            bare, marked = (_sources(snapshot, marked=mark) for mark in (False, True))
            known = self._sources = (snapshot, bare, marked)
        return known[2] if _marked(request) else known[1]

    def recalled(
        self, snapshot: Snapshot, asker: Asker, request: ChatRequest, seen: Looked
    ) -> Recalled:
        """What a request's past says, for its decision."""
        names = names_of((asker.key, ""), seen.prefixes)
        before, again = self._turn(asker, request, names)
        found, warm, fits = self._warmth(snapshot, asker, request, seen, before)
        root = before.root if before is not None else f"{names[-1]:x}" if names else ""
        system = "\n".join(
            m.text for m in request.conversation.messages if m.role in ("system", "developer")
        )
        task = task_of(asker.team, system, seen.need.kind.value)
        wrote = _wrote(request, before)
        thread = self._thread(snapshot, asker, request, seen, (before, root, task, wrote, fits))
        return Recalled(
            asker=asker,
            prefixes=seen.prefixes,
            found=found,
            name=names[-1] if names else 0,
            root=root,
            task=task,
            before=before,
            again=again,
            warm=warm,
            thread=thread,
            wrote=wrote,
        )

    def _turn(
        self, asker: Asker, request: ChatRequest, names: Sequence[int]
    ) -> tuple[Turn | None, Turn | None]:
        """The turn that this request follows, and the one that it repeats."""
        repeated = self.sessions.turn(names[-1]) if names else None
        if repeated is not None and asker.at_ms - repeated.at_ms > AGAIN_MS:
            repeated = None
        for name in reversed(names[:-1]):
            found = self.sessions.turn(name)
            if found is not None:
                return found, repeated
        if request_number(request.conversation) == 1:
            return None, repeated
        return self.sessions.last(asker.session_key), repeated

    def _warmth(
        self,
        snapshot: Snapshot,
        asker: Asker,
        request: ChatRequest,
        seen: Looked,
        before: Turn | None,
    ) -> tuple[dict[str, Found], dict[str, int], dict[str, int]]:
        """For each model: what it got before, how much of it is warm, whole and fitted."""
        found: dict[str, Found] = {}
        warm: dict[str, int] = {}
        fits: dict[str, int] = {}
        for model, (owner, terms) in self._models(snapshot, request).items():
            card = snapshot.cards[model]
            longest = self.warm.find(owner, seen.prefixes, asker.at_ms)
            if longest is not NOTHING:
                found[model] = longest
                expected = self.warm.expected(owner, longest, terms)
                if expected:
                    warm[model] = int(expected * scale(seen.measurement, card))
            if before is not None and before.model == model and before.way != Way.WHOLE.value:
                age = max(0, asker.at_ms - before.at_ms)
                kept = self.warm.expected(owner, Found(before.sent_tokens, age), terms)
                if kept:
                    fits[f"{model} {before.way}"] = int(kept * scale(seen.measurement, card))
        return found, warm, fits

    def _thread(
        self,
        snapshot: Snapshot,
        asker: Asker,
        request: ChatRequest,
        seen: Looked,
        known: tuple[Turn | None, str, str, str | None, dict[str, int]],
    ) -> Thread:
        before, root, task, wrote, fits = known
        number = request_number(request.conversation)
        question, models = seen.measurement.question, self._models(snapshot, request)
        writes = {m: self.warm.writes(*source) for m, source in models.items()}
        off = dict(self.savings.off(root, asker.team, asker.at_ms))
        if self.tasks.drifting(asker.at_ms):
            off.setdefault("switch", "drift")
        limit = snapshot.settings.routing.escalations_nano
        score = seen.complexity
        return Thread(
            number=number,
            way_before=before.way if before is not None else None,
            asked=before.asked if before is not None else None,
            easy=before.easy if before is not None else None,
            floor=wrote if wrote is not None and refers_back(question) else None,
            turns_left=round(self.pace.turns_left(asker.key, number), 2),
            quick=round(self.pace.quick(asker.key), 3),
            ups=round(self.pace.ups(asker.key), 3),
            warm_fit=fits,
            writes={model: component for model, component in writes.items() if component},
            keeps={m: round(self.warm.chance(o, SOON_MS, t), 3) for m, (o, t) in models.items()},
            off=off,
            reasked=REASKED,
            small=_rounded(self.tasks.share(task, SMALL, score.p_small)),
            large=_rounded(self.tasks.share(task, LARGE, score.p_large)),
            asks_work=before is not None and is_open_task(question),
            summary=_summary(snapshot, asker.at_ms),
            spent=limit is not None
            and self.escalations.spent_nano(asker.key, asker.at_ms) >= limit,
        )

    def draw(self, snapshot: Snapshot, request_id: str, at_ms: int) -> float | None:
        """A number from 0 to 1 that is the request's own; None once the day's budget is spent."""
        section = snapshot.settings.routing.explore
        if section is None or self.tried.spent_nano(EXPLORED, at_ms) >= nano(section.budget_usd):
            return None
        digest = hashlib.blake2b(b"explore\x00" + request_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def stale(self, session_key: str, request: ChatRequest) -> bool:
        """Whether another process may have answered this conversation's last request."""
        answers = request_number(request.conversation) - 1
        if answers == 0:
            return False
        last = self.sessions.last(session_key)
        return last is None or last.number != answers

    def told(self, team: str, goal: str, word: str, at_ms: int) -> list[dict[str, Any]]:
        """The events of an outcome: one label for each kind of answer of its task."""
        found = self.goals.labels(team, goal, word, at_ms)
        return [{"label": astuple(label)} for label in found]

    def apply(self, event: Mapping[str, Any]) -> tuple[str, ...]:
        """One settled request, or one label, is remembered; the levers that it switched off."""
        if "label" in event:
            row = Label(*event["label"])
            return ("drift",) if self.tasks.note(row) else ()
        key, at_ms = event["key"], event["at"]
        turn = Turn(*event["turn"])
        self.sessions.remember(event["session"], turn)
        if event["name"]:
            self.sessions.keep(event["name"], turn)
        self.pace.note(key, turn.number, event["gap"], went_up=event.get("rose"))
        owner: Owner = (event["owner"][0], event["owner"][1])
        self.warm.note_names(event["sent"], at_ms)
        report = event.get("report")
        if report is not None:
            self.warm.learn(owner, CacheReport(Found(report[0], report[1]), *report[2:]))
        if event.get("tried"):
            self.tried.note(EXPLORED, event["tried"], at_ms)
        if event.get("up"):
            self.escalations.note(key, event["up"], at_ms)
        if event.get("goal"):
            self.goals.note(event["team"], event["goal"], turn, key)
        if event["baseline"] is None:
            return ()
        done = Realised(
            turn.root, event["team"], event["lever"], event["baseline"], event["cost"], at_ms
        )
        return self.savings.note(done)


@record(frozen=True, slots=True)
class Looked:
    """What was found out about a request before its past is looked up."""

    measurement: Measurement
    complexity: Complexity
    need: Need
    prefixes: tuple[Prefix, ...]


def owner_of(snapshot: Snapshot, model: str) -> Owner:
    """Account and model as a provider keeps its caches apart."""
    entry = snapshot.settings.models[model]
    return entry.upstream, entry.model or model


def _sources(snapshot: Snapshot, *, marked: bool) -> Sources:
    return {
        model: (
            owner_of(snapshot, model),
            cache_terms(card, snapshot.provider(model), marked=marked),
        )
        for model, card in snapshot.cards.items()
    }


def _marked(request: ChatRequest) -> bool:
    return any(part.cache_mark for m in request.conversation.messages for part in m.parts)


def _wrote(request: ChatRequest, before: Turn | None) -> str | None:
    """The tier that wrote the newest work of the conversation; ``asked`` where it is not known."""
    answers = last_answers(request.conversation)
    if any(holds_work(answer) for answer in answers):
        return _tier(before.tier) if before is not None else "asked"
    if before is not None:
        return before.wrote
    if any(holds_work(m) for m in request.conversation.messages if m.role == "assistant"):
        return "asked"
    return None


def _tier(tier: str) -> str:
    """A long-context model's work is no small model's."""
    return Tier.MID.value if tier == Tier.LONG.value else tier


def _rounded(share: tuple[float, float]) -> tuple[float, float]:
    return round(share[0], 2), round(share[1], 4)


def _summary(snapshot: Snapshot, at_ms: int) -> tuple[int, int]:
    """Nano-USD of a million tokens into and out of a summariser that costs money."""
    section = snapshot.settings.fit.summarizer
    if section.backend != "openai" or not section.upstream or not section.model:
        return (0, 0)
    for name, entry in snapshot.settings.models.items():
        if entry.upstream == section.upstream and (entry.model or name) == section.model:
            try:
                price = snapshot.price(name, at_ms, None)
                return (
                    price.cost_of([("input", MILLION)], MILLION // 10),
                    price.cost_of([("output", MILLION)], MILLION // 10),
                )
            except PriceMissing:
                return (0, 0)
    return (0, 0)
