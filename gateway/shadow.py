"""Shadow labels: some of the cheap-routed traffic is asked of the model asked for, too.

Opt-in (``routing.shadow``). After an answer has gone out, a share of what a small model
answered by the router's choice is asked again of the model that the client named, whole, and
both answers are compared, by rule or by a judge model. The verdict is a label of that task; it
stands, without any text, on the receipt of these calls, which is the gateway's own
(``gateway:shadow``) and has a budget of its own. Whatever goes wrong costs only the label:
it is dropped and counted (``weir_shadow_total``).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import orjson

from billing.errors import BudgetExhausted, LedgerUnavailable, PriceMissing, Throttled
from billing.ladder import Brake
from billing.ledger import HoldRequest
from billing.receipt import JUDGE_LINES, SHADOW_LINES, Receipt
from compressor.recipe import Way
from gateway.exchange import ChatRequest, Exchange, Parties
from gateway.ids import new_id
from gateway.prepare import Question, permitted, write_outbound
from gateway.recall_settle import shipped_score, take_in
from gateway.sessions import Recalled
from gateway.shadow_calls import SHADOW_ARM, Ask, NoAnswer, ShadowCalls
from gateway.shell import Shell
from gateway.snapshot import Snapshot
from router.judging import (
    GRADES,
    JUDGE_TOKENS,
    RUBRIC,
    asked_of_judge,
    both_orders,
    by_rule,
    checkable,
    shown,
    verdict_of,
)
from router.learning import LARGE, SMALL, Label
from router.plan import Candidate, Tier
from router.policy import RULE, SHADOW_ACCOUNT, ShadowSection

log = logging.getLogger("weir")
WIRES_ASKED = frozenset({"chat", "messages", "responses"})
MOST_OUTPUT = 4_096  # tokens of a second answer; a longer one is not compared
_OWN_TOOLS = frozenset({"function", "custom"})  # what the client runs itself, not the provider
_REFUSED = (BudgetExhausted, Throttled, LedgerUnavailable)
LEARNED_AT_START = 2_000


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared: the request, who asked, the small answer, the model to ask again."""

    section: ShadowSection
    ex: Exchange
    recalled: Recalled
    whole: Candidate
    said: str


def drawn(snapshot: Snapshot, request_id: str) -> bool:
    """Whether this request is of the share that may be asked twice; the same answer always."""
    section = snapshot.settings.routing.shadow
    return section is not None and in_share(b"shadow\x00", request_id, float(section.share))


def in_share(salt: bytes, name: str, share: float) -> bool:
    """Whether ``name`` falls into a share (0 to 1) of all names."""
    digest = hashlib.blake2b(salt + name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def after(shell: Shell, snapshot: Snapshot, ex: Exchange) -> None:
    """An answer has gone out: where it is drawn and can be compared, that begins behind it."""
    pair = _pair(snapshot, ex)
    if pair is None:
        return
    if shell.behind.busy or not shell.behind.start(_label(shell, snapshot, pair)):
        shell.telemetry.shadow.labels("busy").inc()


def _pair(snapshot: Snapshot, ex: Exchange) -> Pair | None:
    section = snapshot.settings.routing.shadow
    if section is None or not drawn(snapshot, ex.request_id) or not _served_small(ex):
        return None
    parties = Parties.of(ex)
    key, request, prepared = parties.caller.key, parties.request, parties.prepared
    if "shadow" in key.forbid or not _repeatable(request) or prepared.recalled is None:
        return None
    if section.judge == RULE:
        asks_json = request.facts.json_schema
        if not checkable(prepared.measurement.question, json_asked=asks_json):
            return None
    elif request.facts.image_count or not permitted(snapshot, key, section.judge):
        return None  # the judge may not, or cannot, see what it would judge
    wanted = prepared.plan.baseline_model
    for candidate in prepared.plan.candidates:
        if candidate.model == wanted and candidate.way is Way.WHOLE:
            fits = candidate.prompt_tokens + MOST_OUTPUT <= snapshot.cards[wanted].window
            said = ex.reply.said.decode("utf-8", "replace")
            return Pair(section, ex, prepared.recalled, candidate, said) if fits else None
    return None


def _served_small(ex: Exchange) -> bool:
    """Whether a small model answered well by the router's choice, in place of a larger one."""
    if ex.settled is None or ex.status != 200 or ex.reply.outcome != "ok" or ex.arm != "routed":
        return False
    prepared = Parties.of(ex).prepared
    plan, candidate = prepared.plan, prepared.candidate
    tiers = {c.model: c.tier for c in plan.candidates}
    return (
        candidate.tier is Tier.SMALL
        and candidate is plan.choice
        and tiers.get(plan.baseline_model, Tier.SMALL) is not Tier.SMALL
        and ex.escalated is None
    )


def _repeatable(request: ChatRequest) -> bool:
    """Whether asking once more has no effect but its price."""
    facts, tools = request.facts, request.body.get("tools")
    own = not isinstance(tools, list) or all(
        isinstance(tool, dict) and tool.get("type", "function") in _OWN_TOOLS for tool in tools
    )
    return (
        own
        and request.wire in WIRES_ASKED
        and facts.choices == 1
        and not (request.hidden or facts.in_tool_loop or facts.signed_thinking)
        and not request.body.get("background")
    )


async def _label(shell: Shell, snapshot: Snapshot, pair: Pair) -> None:
    """Ask, compare, bill, learn; the outcome is counted whatever it is."""
    calls = ShadowCalls(shell.ledger, snapshot, shell.upstreams, _wanted(shell, snapshot, pair))
    outcome, label = "failed", dict[str, Any]()
    try:
        await calls.reserve(_most(snapshot, calls, pair))
        large = await calls.ask(await asyncio.to_thread(_again, snapshot, pair))
        by, outcome = await _verdict(calls, pair, large.said.decode("utf-8", "replace"))
        if outcome in GRADES:
            label = _record(pair, outcome, by)
    except _REFUSED:
        outcome = "budget"
    except (NoAnswer, PriceMissing) as why:
        log.info("a shadow label was dropped: %s", why)
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    finally:
        said = {"of": pair.ex.request_id, "verdict": outcome}
        calls.settle(said, label)
        shell.telemetry.shadow.labels(outcome).inc()
    for event in labels_of(label):
        take_in(shell, {"label": astuple(event)})


def _wanted(shell: Shell, snapshot: Snapshot, pair: Pair) -> HoldRequest:
    at_ms, model = shell.clock(), pair.whole.model
    return HoldRequest(
        request_id=new_id(at_ms),
        path=("organisation", SHADOW_ACCOUNT, f"{SHADOW_ACCOUNT}/labels"),
        user=None,
        amount_nano=0,
        at_ms=at_ms,
        model=model,
        upstream=snapshot.settings.models[model].upstream,
        arm=SHADOW_ARM,
        requested_model=model,
    )


def _most(snapshot: Snapshot, calls: ShadowCalls, pair: Pair) -> int:
    """The most that all calls of a label can cost together."""
    most = calls.most_nano(pair.whole.model, pair.whole.prompt_tokens, MOST_OUTPUT)
    if pair.section.judge != RULE:
        count = snapshot.gauge(pair.section.judge).counter.count
        reads = count(RUBRIC) + count(_request(pair)) + count(pair.said) + MOST_OUTPUT + 256
        most += 2 * calls.most_nano(pair.section.judge, reads, JUDGE_TOKENS)
    return most


def _again(snapshot: Snapshot, pair: Pair) -> Ask:
    """The request as it was asked, whole, of the model it names; at once, and kept nowhere."""
    parties, ex = Parties.of(pair.ex), pair.ex
    brake = Brake(max_output=MOST_OUTPUT)
    question = Question(parties.request, parties.caller, brake, {}, None, ex.at_ms)
    raw = write_outbound(snapshot, parties.request, pair.whole, None, question)
    body = orjson.loads(raw)
    for name in ("stream_options", "service_tier"):
        body.pop(name, None)
    body["stream"] = False
    if "store" in body or parties.request.wire == "responses":
        body["store"] = False
    return Ask(
        prefix=SHADOW_LINES,
        model=pair.whole.model,
        wire=parties.request.wire,
        body=orjson.dumps(body),
        prompt_tokens=pair.whole.prompt_tokens,
        output_tokens=MOST_OUTPUT,
        headers=ex.forwarded,
    )


async def _verdict(calls: ShadowCalls, pair: Pair, large: str) -> tuple[str, str]:
    """Who judged, and a key of ``GRADES`` or why there is none."""
    prepared = Parties.of(pair.ex).prepared
    question = prepared.measurement.question
    asks_json = Parties.of(pair.ex).request.facts.json_schema
    found = by_rule(question, pair.said, large, json_asked=asks_json)
    if found is not None or pair.section.judge == RULE:
        return RULE, found or "undecided"
    request, judge, mark = _request(pair), pair.section.judge, new_id(pair.ex.at_ms)
    orders = [(pair.said, large), (large, pair.said)]
    asks = [_to_judge(calls.snapshot, judge, asked_of_judge(request, *o, mark)) for o in orders]
    replies = await asyncio.gather(*(calls.ask(ask) for ask in asks), return_exceptions=True)
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    words = [
        verdict_of(r.said.decode("utf-8", "replace"))
        for r in replies
        if not isinstance(r, BaseException)
    ]
    if words[0] is None or words[1] is None:
        return judge, "nonsense"
    return judge, both_orders(words[0], words[1]) or "undecided"


def _to_judge(snapshot: Snapshot, judge: str, messages: list[dict[str, str]]) -> Ask:
    entry = snapshot.settings.models[judge]
    limit = snapshot.settings.upstreams[entry.upstream].output_limit_field
    body = {"model": entry.model or judge, "messages": messages, limit: JUDGE_TOKENS}
    count = snapshot.gauge(judge).counter.count
    reads = sum(count(message["content"]) for message in messages) + 16
    return Ask(JUDGE_LINES, judge, "chat", orjson.dumps(body), reads, JUDGE_TOKENS)


def _request(pair: Pair) -> str:
    messages = Parties.of(pair.ex).request.conversation.messages
    return shown([(message.role, message.text) for message in messages])


def _record(pair: Pair, verdict: str, by: str) -> dict[str, Any]:
    """A label as its receipt keeps it: whose, of what task, the score as it was; no text."""
    prepared, asker = Parties.of(pair.ex).prepared, pair.recalled.asker
    score, (small, large) = prepared.complexity, GRADES[verdict]
    return {
        "v": 1,
        "of": pair.ex.request_id,
        "team": asker.team,
        "key": asker.key,
        "task": pair.recalled.task,
        "need": prepared.need.kind.value,
        "at": asker.at_ms,
        "small": small,
        "large": large,
        "by": by,
        "served": prepared.candidate.model,
        "p_small": round(score.p_small, 4),
        "p_large": round(score.p_large, 4),
        "score": shipped_score(prepared),
        "weak": score.weak,
        "features": {name: value for name, value in score.features.items() if value},
    }


def labels_of(record: Mapping[str, Any]) -> Iterator[Label]:
    """What a recorded label says of the small model and of the large one."""
    for size, promised in ((SMALL, "p_small"), (LARGE, "p_large")) if record else ():
        signal = "judged_good" if record[size] > 0.5 else "judged_bad"
        yield Label(
            record["task"], size, signal, record["key"], float(record[promised]), record["at"]
        )


def relearn(shell: Shell) -> None:
    """What the ledger's newest labels taught is known again after a start; blocking."""
    found: list[Receipt] = shell.ledger.receipts(SHADOW_ACCOUNT, limit=LEARNED_AT_START)
    for receipt in reversed(found):
        record = receipt.decision.get("shadow")
        if isinstance(record, dict) and record.get("v") == 1:
            for label in labels_of(record):
                shell.recall.tasks.note(label)
