"""A simulated week through four policies: what each costs, and what it is worth.

    python -m benchmarks.week ../shared/data/routing/dev.jsonl --sessions 400
    python -m benchmarks.week FILE --json --nothing-to-gain

The whole gateway runs in this process, its ledger and receipts included; the provider is the
simulator, with its prompt cache on the same virtual clock and the price book's real prices.
Requests are as of `_week_traffic`: FILE holds labelled prompts (fields of shared/data/routing).

*asked*: everything to the model asked for. *cheapest*: everything to the smallest model.
*no warmth*: this gateway, blind to caches and to what comes later. *weir*: as shipped.

Quality is a proxy: of labelled prompts the label of the tier that answered; of work with tools
a share by tier; of documents whether what the answer needs was in the prompt as sent, and, where
a small model had to read more than its card says that it does, SMALL_LOST. ``--nothing-to-gain``
gives every key one model alone: the total must equal *asked*'s to the cent. ``--seeds 5`` runs
five weeks and gives means with 95% intervals; ``dearer`` counts sessions that cost more than as
asked, and by how much at most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks._week_traffic import Ask, Week
from gateway.app import App, create_app
from gateway.auth import hash_of
from gateway.recall import Looked, Recall
from gateway.sessions import Asker, Recalled
from gateway.settings import parse
from gateway.simulator import SimSettings, Simulator, create_simulator
from gateway.upstream.protocol import Outbound
from router.catalog import effective
from router.need import Need, NeedKind

START_MS = 1_794_787_200_000
SECRET = "weir-week-{}"  # noqa: S105 - of a gateway that lives for one run
MODELS = {"sol": ("gpt-6.1-sol", "gpt-6-luna"), "terra": ("gpt-6.1-terra", "gemini-3.8-flash")}
SMALL_LOST = 0.6
T_95 = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
BYTES_A_TOKEN = 7.0  # of these documents: plain words
POLICIES = ("asked", "cheapest", "no warmth", "weir")
UNTOUCHED = "forbid: [route, lossless, trim, compress], "


class Blind(Recall):
    """Memory of who answered, and of nothing that a cache or a later request is worth."""

    def recalled(self, snapshot: Any, asker: Asker, request: Any, seen: Looked) -> Recalled:
        """As ``Recall``, without warmth."""
        found = super().recalled(snapshot, asker, request, seen)
        thread = replace(
            found.thread, turns_left=1.0, quick=0.0, warm_fit={}, keeps={}, writes={}, off={}
        )
        return replace(found, warm={}, thread=thread)


@dataclass
class Reply:
    """A whole answer of the simulator."""

    status: int
    headers: dict[str, str]
    body: bytes

    async def read(self) -> bytes:
        """The body."""
        return self.body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body at once."""
        yield self.body

    async def close(self) -> None:
        """Nothing to give back."""


@dataclass
class Provider:
    """The simulator in this process; keeps the last body, to see what was sent."""

    name: str
    simulator: Simulator
    last: bytes = b""

    async def send(self, call: Outbound) -> Reply:
        """One call through the simulator's own ASGI."""
        self.last = call.body
        status, headers, pieces = 0, {}, []
        sent = iter([{"type": "http.request", "body": call.body}])

        async def receive() -> MutableMapping[str, Any]:
            return next(sent, {"type": "http.disconnect"})

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                pieces.append(message["body"])

        scope = {
            "type": "http", "method": "POST", "path": "/v1" + call.path,
            "headers": [(b"authorization", b"Bearer " + self.name.encode())],
        }  # fmt: skip
        await self.simulator(scope, receive, send)
        return Reply(status, headers, b"".join(pieces))

    async def close(self) -> None:
        """Nothing to close."""


@dataclass
class Outcome:
    """One policy's week."""

    cost: Decimal = Decimal(0)
    requests: int = 0
    good: float = 0.0
    switches: int = 0
    changed: int = 0
    fits: int = 0
    by_kind: dict[str, list[float]] = field(default_factory=dict)
    cost_by_kind: dict[str, Decimal] = field(default_factory=dict)
    by_session: dict[int, Decimal] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    last: dict[int, str] = field(default_factory=dict)


def config(folder: Path, policy: str, *, alone: bool) -> str:
    """weir.yaml of one policy; ``alone`` leaves each team one model."""
    extra = UNTOUCHED if policy in ("asked", "cheapest") else ""
    teams = "\n".join(
        f"  {team}: {{ {extra}allow: [{pair[0] if alone else ', '.join(pair)}], keys: [{team}] }}"
        for team, pair in MODELS.items()
    )
    keys = "\n".join(f"  {team}: {hash_of(SECRET.format(team))}" for team in MODELS)
    return f"""
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", provider: openai }}
  google: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", provider: google }}
models:
  gpt-6.1-sol: {{ upstream: openai, tier: mid }}
  gpt-6-luna: {{ upstream: openai, tier: small }}
  gpt-6.1-terra: {{ upstream: openai, tier: mid }}
  gemini-3.8-flash: {{ upstream: google, tier: small }}
fit: {{ allow: [{"" if alone else "lossless, trim, compress"}] }}
teams:
{teams}
keys:
{keys}
"""


class Run:
    """One policy's gateway on a virtual clock."""

    def __init__(self, policy: str, folder: Path, *, alone: bool = False) -> None:
        self.policy, self.now_ms = policy, START_MS
        simulator = create_simulator(SimSettings(max_output=600), lambda: self.now_ms / 1000)
        self.providers = {name: Provider(name, simulator) for name in ("openai", "google")}
        settings = parse(config(folder, policy, alone=alone), str(folder / "weir.yaml"))
        self.app: App = create_app(
            settings, upstreams=dict(self.providers), clock=lambda: self.now_ms
        )
        if policy == "no warmth":
            self.app.shell.recall = Blind()
        self.cards = self.app.shell.snapshot.cards
        self.simulator, self.outcome = simulator, Outcome()

    async def week(self, asks: Sequence[Ask]) -> Outcome:
        """All requests, one after the other, each at its instant."""
        await self.app.start()
        try:
            for ask in asks:
                self.now_ms = START_MS + int(ask.at_s * 1000)
                await self._one(ask)
        finally:
            await self.app.stop()
        for tally in self.simulator.tallies.values():
            self.outcome.prompt_tokens += tally.prompt_tokens
            self.outcome.cached_tokens += tally.cached_tokens
        return self.outcome

    async def _one(self, ask: Ask) -> None:
        model = MODELS[ask.team][1 if self.policy == "cheapest" else 0]
        body: dict[str, Any] = {"model": model, "messages": ask.messages, "max_tokens": 400}
        if ask.tools:
            body["tools"] = list(ask.tools)
        headers = await self._ask(ask.team, json.dumps(body).encode())
        self._note(ask, headers)

    async def _ask(self, team: str, raw: bytes) -> dict[str, str]:
        found: dict[str, str] = {}
        sent = iter([{"type": "http.request", "body": raw}])

        async def receive() -> MutableMapping[str, Any]:
            first = next(sent, None)
            if first is None:
                await asyncio.Event().wait()
            return first or {}

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if message["status"] != 200:
                    raise RuntimeError(f"the gateway answered {message['status']}")
                found.update({k.decode(): v.decode() for k, v in message["headers"]})

        scope = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions",
            "headers": [(b"authorization", b"Bearer " + SECRET.format(team).encode())],
        }  # fmt: skip
        await self.app(scope, receive, send)
        return found

    def _note(self, ask: Ask, headers: dict[str, str]) -> None:
        said, outcome = headers["x-weir-model"], self.outcome
        asked = MODELS[ask.team][0]
        outcome.requests += 1
        cost = Decimal(headers["x-weir-cost-usd"])
        outcome.cost += cost
        outcome.cost_by_kind[ask.kind] = outcome.cost_by_kind.get(ask.kind, Decimal(0)) + cost
        known = outcome.by_session.get(ask.session, Decimal(0))
        outcome.by_session[ask.session] = known + cost
        good = self._good(ask, said)
        outcome.good += good
        outcome.by_kind.setdefault(ask.kind, []).append(good)
        outcome.changed += said != asked
        outcome.fits += any(w in headers["x-weir-action"] for w in ("trim", "compress", "lossless"))
        outcome.switches += outcome.last.get(ask.session, said) != said
        outcome.last[ask.session] = said

    def _good(self, ask: Ask, model: str) -> float:
        """The proxy of one answer's quality, 0 to 1."""
        small = model == MODELS[ask.team][1]
        sent = next(p.last for p in self.providers.values() if f'"{model}"'.encode() in p.last)
        right = ask.right[0 if small else 1]
        if ask.needle and ask.needle.encode() not in sent:
            return 0.0
        if ask.whole and len(sent) < 0.9 * len(json.dumps(ask.messages)):
            return 0.5
        if ask.kind == "document" and small:
            kind = NeedKind.SYNTHESIS if ask.whole else NeedKind.LOOKUP
            reads = effective(self.cards[model], Need(kind, 1.0, identifiers=True))
            if len(sent) / BYTES_A_TOKEN > reads:
                return SMALL_LOST
        return right


def run_policy(policy: str, asks: Sequence[Ask], *, alone: bool = False) -> Outcome:
    """One policy's week in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(Run(policy, Path(folder), alone=alone).week(asks))


def row_of(outcome: Outcome, best: Outcome) -> dict[str, Any]:
    """The figures of one policy, quality relative to *asked*."""
    more = [cost - best.by_session[one] for one, cost in outcome.by_session.items()]
    return {
        "cost_usd": f"{outcome.cost:.4f}",
        "cost_of_asked": round(float(outcome.cost / best.cost), 4),
        "cost_of_asked_by_kind": {
            kind: round(float(cost / best.cost_by_kind[kind]), 4)
            for kind, cost in outcome.cost_by_kind.items()
        },
        "dearer_sessions": sum(each > 0 for each in more),
        "dearest_by_usd": f"{max([*more, Decimal(0)]):.4f}",
        "lost_by_dearer_usd": f"{sum((each for each in more if each > 0), Decimal(0)):.4f}",
        "quality": round(outcome.good / outcome.requests, 4),
        "quality_of_asked": round(outcome.good / best.good, 4),
        "quality_by_kind": {k: round(sum(v) / len(v), 4) for k, v in outcome.by_kind.items()},
        "to_small": round(outcome.changed / outcome.requests, 4),
        "fitted": outcome.fits,
        "switches": outcome.switches,
        "cache_hits": round(outcome.cached_tokens / max(1, outcome.prompt_tokens), 4),
        "prompt_tokens": outcome.prompt_tokens,
    }


def main() -> None:
    """Run the policies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--sessions", type=int, default=300)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--nothing-to-gain", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.file.read_text(encoding="utf-8").splitlines()]
    wanted = ["asked", "weir"] if options.nothing_to_gain else options.policies.split(",")
    weeks: list[dict[str, dict[str, Any]]] = []
    for seed in range(options.seed, options.seed + options.seeds):
        asks = Week(rows, random.Random(seed)).fill(options.sessions)
        weeks.append(_week(wanted, asks, options))
    if options.json:
        print(json.dumps(weeks if options.seeds > 1 else weeks[0]))
    elif options.seeds > 1:
        _say_intervals(wanted, weeks)


def _week(
    wanted: Sequence[str], asks: Sequence[Ask], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """The same requests through each policy."""
    found: dict[str, Outcome] = {}
    for policy in wanted:
        started = time.perf_counter()
        found[policy] = run_policy(policy, asks, alone=options.nothing_to_gain)
        if not options.json:
            took = time.perf_counter() - started
            said = json.dumps(row_of(found[policy], found[wanted[0]]))
            print(f"{policy:10} {said}  ({len(asks)} requests, {took:.0f} s)", flush=True)
    return {name: row_of(one, found[wanted[0]]) for name, one in found.items()}


def _say_intervals(wanted: Sequence[str], weeks: Sequence[dict[str, dict[str, Any]]]) -> None:
    """Means over the weeks with 95% intervals (Student's t)."""
    wide = T_95.get(len(weeks) - 1, 2.0) / len(weeks) ** 0.5
    print()
    for policy in wanted:
        said = []
        for name in ("cost_of_asked", "quality_of_asked", "to_small", "switches", "cache_hits"):
            values = [week[policy][name] for week in weeks]
            half = statistics.stdev(values) * wide
            said.append(f"{name} {statistics.mean(values):.4g} +- {half:.2g}")
        print(f"{policy:10} " + "  ".join(said))


if __name__ == "__main__":
    main()
