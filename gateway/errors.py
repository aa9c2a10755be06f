"""The one table: exception -> HTTP status and error body.

Packages raise their own classes and know no HTTP; every class that can reach a client
stands here, and a test fails when one is missing. Messages say what was wrong, the
value and the remedy; never a key, a prompt or a stack trace.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

import orjson

from billing.errors import (
    ApprovalNeeded,
    BudgetExhausted,
    LedgerMissing,
    LedgerUnavailable,
    PriceMissing,
    ReceiptInvalid,
    Throttled,
    UsageInvalid,
)
from billing.money import usd
from compressor.errors import EmbedderAway, ModelFilesMissing, UnknownEncoding
from router.errors import NoCandidate, UnknownModel


class GatewayError(Exception):
    """Base of every error of the gateway package."""


class ConfigError(GatewayError):
    """A configuration that cannot be used: where, what, and what would fix it."""

    def __init__(self, where: str, key: str, problem: str, fix: str) -> None:
        self.where, self.key, self.problem, self.fix = where, key, problem, fix
        subject = f"{key}: " if key else ""
        super().__init__(f"{where}: {subject}{problem}. Fix: {fix}")

    @property
    def at(self) -> str:
        """File, line and key without folder or value, for who may not see the file."""
        place = PurePath(self.where).name
        return f"{place}: {self.key}" if self.key else place


class InvalidRequest(GatewayError):
    """A body that no provider could serve; ``param`` names the field."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid") -> None:
        self.param, self.code = param, code
        super().__init__(message)


class NotAuthenticated(GatewayError):
    """No key, or one that nobody issued."""


class KeyDisabled(GatewayError):
    """A key that was issued and is no longer good."""


class ModelNotAllowed(GatewayError):
    """A model that exists, but not for this key."""


class NotFound(GatewayError):
    """A path or an object that is not there for this caller."""


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not; ``allow`` names those that do."""

    def __init__(self, message: str, allow: str = "POST") -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(GatewayError):
    """A body over the limit, judged on Content-Length and while reading."""


class BodyTooSlow(GatewayError):
    """A body that stopped coming."""


class EncodingUnsupported(GatewayError):
    """A Content-Encoding that is not taken."""


class Overloaded(GatewayError):
    """Too much at once; nothing was sent, try again after ``retry_after_s``."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class Draining(Overloaded):
    """The process is going away; another one, or a later try, will serve."""


class Conflict(GatewayError):
    """What is asked for cannot be done yet; nothing was changed."""


class IdempotencyBusy(GatewayError):
    """A request with the same Idempotency-Key is in flight; ask again shortly."""

    retry_after_s = 1.0


class IdempotencyGone(GatewayError):
    """The first result of an Idempotency-Key is lost or was not kept; it is not made again."""


class IdempotencyReused(GatewayError):
    """An Idempotency-Key that was used for another body."""


class UpstreamFailed(GatewayError):
    """The provider could not be reached or answered with something unusable.

    ``final``: asking it again in the same way would give the same.
    """

    final = False


class BrokenOff(UpstreamFailed):
    """The provider's answer had begun and broke off; it may well be billed."""


class Unanswered(BrokenOff):
    """The request had been sent and no status came back; it may be billed all the same."""


class UpstreamAuth(UpstreamFailed):
    """The provider refused the gateway's own credential."""


class UpstreamTimeout(GatewayError):
    """The provider did not answer in time."""


class ConnectTimeout(UpstreamTimeout):
    """No connection in time: nothing was sent, so nothing can be billed."""


class StreamBroken(GatewayError):
    """A stream that ended before it was complete; told to the client as an error event."""


class ClientGone(GatewayError):
    """The client left; only logged (499)."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one exception class is told to a client."""

    status: int
    kind: str
    code: str
    headers: Mapping[str, str] = field(default_factory=dict)


_NO_RETRY = {"x-should-retry": "false"}

TABLE: Mapping[type[Exception], Row] = {
    InvalidRequest: Row(400, "invalid_request_error", "invalid", _NO_RETRY),
    NotAuthenticated: Row(401, "authentication_error", "invalid_api_key", _NO_RETRY),
    ApprovalNeeded: Row(402, "approval_required", "approval_required", _NO_RETRY),
    BudgetExhausted: Row(402, "budget_exhausted", "budget_exhausted", _NO_RETRY),
    PriceMissing: Row(402, "unpriced", "price_missing", _NO_RETRY),
    KeyDisabled: Row(403, "permission_error", "key_disabled", _NO_RETRY),
    ModelNotAllowed: Row(403, "permission_error", "model_not_allowed", _NO_RETRY),
    NotFound: Row(404, "not_found_error", "not_found", _NO_RETRY),
    UnknownModel: Row(404, "invalid_request_error", "model_not_found", _NO_RETRY),
    MethodNotAllowed: Row(405, "invalid_request_error", "method_not_allowed", _NO_RETRY),
    BodyTooSlow: Row(408, "invalid_request_error", "body_too_slow"),
    Conflict: Row(409, "invalid_request_error", "conflict", _NO_RETRY),
    IdempotencyBusy: Row(409, "idempotency_error", "idempotency_in_flight"),
    IdempotencyGone: Row(409, "idempotency_error", "idempotency_result_gone", _NO_RETRY),
    BodyTooLarge: Row(413, "invalid_request_error", "body_too_large", _NO_RETRY),
    EncodingUnsupported: Row(415, "invalid_request_error", "encoding_unsupported", _NO_RETRY),
    IdempotencyReused: Row(422, "idempotency_error", "idempotency_key_reused", _NO_RETRY),
    Throttled: Row(429, "rate_limit_error", "rate_limited"),
    ClientGone: Row(499, "client_closed_request", "client_closed_request"),
    StreamBroken: Row(502, "upstream_error", "stream_broken"),
    UpstreamFailed: Row(502, "upstream_error", "upstream_failed"),
    BrokenOff: Row(502, "upstream_error", "upstream_failed"),
    Unanswered: Row(502, "upstream_error", "upstream_failed"),
    UpstreamAuth: Row(502, "upstream_error", "upstream_auth", _NO_RETRY),
    UsageInvalid: Row(502, "upstream_error", "upstream_usage_invalid"),
    NoCandidate: Row(503, "no_candidate", "no_candidate", _NO_RETRY),
    LedgerMissing: Row(503, "unavailable", "ledger_unavailable"),
    LedgerUnavailable: Row(503, "unavailable", "ledger_unavailable"),
    Overloaded: Row(503, "overloaded", "overloaded"),
    Draining: Row(503, "overloaded", "draining"),
    UpstreamTimeout: Row(504, "upstream_error", "upstream_timeout"),
    ConnectTimeout: Row(504, "upstream_error", "upstream_timeout"),
    ReceiptInvalid: Row(500, "internal_error", "receipt_invalid", _NO_RETRY),
    # A broken installation, not a bad request: said plainly, without the traceback.
    UnknownEncoding: Row(500, "internal_error", "unknown_encoding", _NO_RETRY),
    ModelFilesMissing: Row(500, "internal_error", "model_files_missing", _NO_RETRY),
    EmbedderAway: Row(500, "internal_error", "embedder_away"),  # a fit goes on without it
}

_INTERNAL = Row(500, "internal_error", "internal_error")


def row_for(error: BaseException) -> Row:
    """The table row of the error's class or of its nearest ancestor."""
    if isinstance(error, NoCandidate) and error.unpriced:
        return TABLE[PriceMissing]
    for cls in type(error).__mro__:
        row = TABLE.get(cls)
        if row is not None:
            return row
    return _INTERNAL


def place(error: BaseException) -> str:
    """Class and whereabouts of an unexpected error, for a log line: never its message.

    A message may quote a prompt or a key; the frames say all that is needed to find it.
    """
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    steps = (f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f"{type(error).__name__} at {' > '.join(steps)}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """An error ready to be sent."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


# A credential that a client put where it does not belong; our headers' names are none.
_SECRET = re.compile(r"(?<![\w-])(weir-|sk-)[\w.-]+")
LEDGER_DOWN = "the ledger cannot take this request just now; nothing was sent, try again"


def masked(text: str) -> str:
    """The text without what looks like a credential."""
    return _SECRET.sub(r"\1***", text)


def _message(error: BaseException, row: Row, request_id: str) -> str:
    """What a client is told: nothing of our inside, nothing of this machine."""
    if row is _INTERNAL:
        return f"the gateway failed on this request; its log has the details under {request_id}"
    return LEDGER_DOWN if isinstance(error, LedgerUnavailable) else masked(str(error))


def param_of(error: BaseException) -> str | None:
    """The field an error is about, or None."""
    param = getattr(error, "param", None)
    return masked(param) if isinstance(param, str) else None


# Anthropic's own words, by status.
_MESSAGES_KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def body_of(error: BaseException, wire: str, request_id: str) -> dict[str, object]:
    """The wire's own error shape; an unknown exception says nothing of its inside."""
    row = row_for(error)
    message = _message(error, row, request_id)
    if wire == "messages":
        kind = _MESSAGES_KINDS.get(row.status, "api_error")
        return {
            "type": "error",
            "error": {"type": kind, "message": message},
            "request_id": request_id,
        }
    detail: dict[str, object] = {
        "message": message,
        "type": row.kind,
        "param": param_of(error),
        "code": getattr(error, "code", row.code),
        "request_id": request_id,
    }
    if isinstance(error, BudgetExhausted):
        figures = error.figures
        detail |= {
            "budget": figures.budget,
            "spent_usd": usd(figures.spent_nano),
            "held_usd": usd(figures.held_nano),
            "limit_usd": usd(figures.limit_nano),
            "resets_at": figures.resets_at,
        }
    return {"error": detail, "request_id": request_id}


def render(error: BaseException, wire: str, request_id: str) -> Rendered:
    """Status, headers and body for an error that reached the edge."""
    row = row_for(error)
    headers = [
        (b"content-type", b"application/json"),
        (b"x-weir-request-id", request_id.encode("latin-1")),
        *((k.encode("latin-1"), v.encode("latin-1")) for k, v in row.headers.items()),
    ]
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("latin-1")))
    wait = getattr(error, "retry_after_s", None)
    if wait is None and row.status in {429, 503} and row.headers is not _NO_RETRY:
        wait = 1.0
    if wait is not None:
        headers.append((b"retry-after", str(max(1, round(wait))).encode("latin-1")))
    return Rendered(row.status, tuple(headers), orjson.dumps(body_of(error, wire, request_id)))
