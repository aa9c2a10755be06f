"""The receipt of a request for pictures or sound."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from billing.errors import PriceMissing
from billing.ledger import HoldRequest
from billing.price import Price
from billing.receipt import COMPLETION, PROMPT, Attempt, Line, Receipt, held_line
from billing.recovery import orphan
from gateway.exchange import Caller, Exchange
from gateway.ids import new_id
from gateway.media_body import Asked
from gateway.media_price import Kind, Told, lines
from gateway.shell import Shell
from gateway.snapshot import Snapshot


@dataclass(slots=True)
class Work:
    """One request for pictures or sound, from its body to its bill; ``small``: read at once."""

    shell: Shell
    snapshot: Snapshot
    ex: Exchange
    caller: Caller
    kind: Kind
    asked: Asked
    price: Price
    told: Told | None = None
    status: int = 0
    outcome: str = "error"
    began: float = 0.0
    held_nano: int = 0
    small: bool = True

    def count(self, text: str) -> int:
        """Tokens of a text as the model counts them."""
        return self.snapshot.gauge(self.asked.model).counter.count(text)


def _billed(work: Work, attempt: str) -> tuple[tuple[Line, ...], str, str]:
    """The lines, whose count they rest on, and the attempt's state."""
    if work.told is None and work.outcome not in {"cut", "cancelled"}:
        return (), "none", "void"
    try:
        told = work.told
        found = None
        if told is not None:
            found = work.kind.parts(work.price, work.asked, told, work.count)
        if found is not None:
            parts, sure = found
            made = lines(work.price, parts, attempt)
            return made, *(("provider", "settled") if sure else ("estimated", "estimated"))
        rule = "provisional"
    except PriceMissing as missing:
        rule = str(missing)
    line = held_line(attempt, work.held_nano, work.price.book, rule)
    return (line,) if work.held_nano else (), "estimated", "provisional"


def receipt_of(work: Work) -> Receipt:
    """The receipt of a request that is over."""
    ex, asked, snapshot = work.ex, work.asked, work.snapshot
    name = new_id(ex.at_ms)
    made, source, state = _billed(work, name)
    amount = sum(line.amount_nano for line in made)
    entry = snapshot.settings.models[asked.model]
    attempt = _attempt(work, name, state)
    prompt = sum(line.quantity for line in made if line.component in PROMPT)
    completion = sum(line.quantity for line in made if line.component in COMPLETION)
    key = work.caller.key
    wanted = HoldRequest(
        ex.request_id, key.path, work.caller.user, 0, ex.at_ms, asked.model, entry.upstream
    )
    return replace(
        orphan(wanted, 0, ex.at_ms, "media"),
        session=ex.headers.session,
        task=ex.headers.task,
        tags=ex.headers.tags,
        tier=entry.tier.value,
        reasons=({"code": "media"},),
        original_prompt_tokens=prompt,
        sent_prompt_tokens=prompt,
        completion_tokens=completion,
        effective_tokens=prompt + completion if ex.status == 200 else 0,
        billed_tokens=prompt + completion,
        cost_nano=amount,
        baseline_nano=amount,
        waste_nano=0 if ex.status == 200 else amount,
        usage_source=source,
        lines=made,
        attempts=(attempt,),
        overhead_ms=ex.before_upstream_ms,
        status=ex.status,
        policy_hash=snapshot.settings.hash,
        prices_hash=snapshot.prices.hash,
        catalog_hash=snapshot.catalog_hash,
        state="settled",
        saved_trim_nano=0,
        saved_model_nano=0,
        saved_cache_nano=0,
        saved_retries_nano=0,
    )


def _attempt(work: Work, name: str, state: str) -> Attempt:
    return Attempt(
        id=name,
        model=work.asked.model,
        upstream=work.snapshot.settings.models[work.asked.model].upstream,
        status=work.status,
        outcome=work.outcome,
        ttft_ms=None,
        duration_ms=(time.perf_counter() - work.began) * 1000,
        usage=work.told.usage if work.told is not None else None,
        state=state,
    )
