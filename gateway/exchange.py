"""Exchange: the one record of a request, filled stage by stage by pipeline.py alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.accounts import VirtualKey
from billing.ladder import Brake
from billing.receipt import Attempt, Line, Receipt
from billing.record import record
from billing.shadow_cache import Prefix
from billing.usage import Usage
from compressor.conversation import Conversation
from compressor.measure import Measurement
from compressor.recipe import Fitted, Way
from compressor.scan import Finding
from gateway.own_calls import OwnCalls
from gateway.sessions import Recalled
from router.complexity import Complexity
from router.learning import Label
from router.need import Need
from router.plan import Candidate, Plan, RequestFacts


@record(frozen=True, slots=True)
class ClientHeaders:
    """The request headers the gateway reads; none of them goes upstream."""

    secret: str | None = None
    mode: str = "route"
    fit: Way = Way.COMPRESS
    session: str | None = None
    task: str | None = None
    user: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    max_cost_nano: int | None = None
    idempotency_key: str | None = None
    wire: str | None = None
    content_length: int | None = None
    content_encoding: str | None = None
    cache: str = "use"


@record(frozen=True, slots=True)
class ChatRequest:
    """A parsed body: the client's own bytes, and what the gateway read in them.

    ``spliceable``: each top-level key the gateway may set occurs at most once in the
    bytes, so that an edit in place cannot mean something else to the provider. ``session``
    is the client's own name for the conversation. ``hidden``: part of the prompt lies at the
    provider and cannot be counted here.
    """

    wire: str
    raw: bytes
    body: Mapping[str, Any]
    conversation: Conversation
    facts: RequestFacts
    stream: bool
    wants_usage: bool
    spliceable: bool
    user: str | None = None
    session: str | None = None
    hidden: bool = False


@record(frozen=True, slots=True)
class Caller:
    """Who asks: a virtual key and, where the client names one, its end user."""

    key: VirtualKey
    user: str | None


@record(frozen=True, slots=True)
class Prepared:
    """All that is known before anything is held or sent; a dry run stops here.

    ``prefixes`` are those of the prompt as it came, ``sent_prefixes`` those that a fit left.
    """

    measurement: Measurement
    complexity: Complexity
    need: Need
    plan: Plan
    candidate: Candidate
    fitted: Fitted | None
    outbound: bytes
    reasons: tuple[Mapping[str, object], ...]
    prefixes: tuple[Prefix, ...]
    decision: Mapping[str, object] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    recalled: Recalled | None = None
    sent_prefixes: tuple[Prefix, ...] = ()


@dataclass(slots=True)
class Reply:
    """What came back, as the relay saw it.

    ``metered``: ``usage`` counts the whole answer. Where a stream was cut before its provider
    had counted the completion, it counts the prompt alone. ``said`` is the answer's text, where
    ``keep`` asks for it.
    """

    status: int = 0
    usage: Usage | None = None
    metered: bool = True
    raw_usage: Mapping[str, object] | None = None
    response_model: str | None = None
    service_tier: str | None = None
    provider_id: str | None = None
    completed: bool = False
    ttft_ms: float | None = None
    text_pieces: list[bytes] = field(default_factory=list)
    keep: bool = False
    said: bytes = b""
    finish_reason: str | None = None
    schema_failed: bool = False
    outcome: str = "ok"


@record(frozen=True, slots=True)
class Charge:
    """What one attempt is charged; without an attempt nothing was ever sent."""

    attempt: Attempt | None
    usage: Usage | None
    lines: tuple[Line, ...]

    @property
    def attempt_id(self) -> str:
        """The attempt's id, or nothing."""
        return self.attempt.id if self.attempt is not None else ""

    @property
    def cost_nano(self) -> int:
        """The sum of its lines."""
        return sum(line.amount_nano for line in self.lines)


@dataclass(slots=True)
class Exchange:
    """One request from socket to ledger row."""

    request_id: str
    at_ms: int
    started: float
    wire: str
    headers: ClientHeaders
    caller: Caller | None = None
    request: ChatRequest | None = None
    brake: Brake | None = None
    session_key: str = ""
    arm: str = "routed"
    prepared: Prepared | None = None
    reply: Reply = field(default_factory=Reply)
    forwarded: Mapping[str, str] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    held_nano: int = 0
    own: OwnCalls | None = None
    attempt_id: str = ""
    escalated: Candidate | None = None
    labels: tuple[tuple[Label, tuple[float, ...]], ...] = ()
    client_gone: bool = False
    settled: Receipt | None = None
    before_upstream_ms: float = 0.0
    upstream_ms: float = 0.0
    status: int = 0

    @property
    def charged_nano(self) -> int:
        """What the attempts before the latest one are charged."""
        return sum(charge.cost_nano for charge in self.charges)


@record(frozen=True, slots=True)
class Parties:
    """The parts of an exchange that are all there once a plan exists."""

    caller: Caller
    request: ChatRequest
    prepared: Prepared

    @classmethod
    def of(cls, ex: Exchange) -> Parties:
        """Raises RuntimeError: the exchange never got that far."""
        if ex.caller is None or ex.request is None or ex.prepared is None:
            raise RuntimeError("this exchange has no plan yet")
        return cls(ex.caller, ex.request, ex.prepared)
