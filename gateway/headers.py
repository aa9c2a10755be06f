"""Request headers in, response headers out: what is read, what may pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from billing.money import decimal_of, nano
from compressor.recipe import Way
from gateway.errors import InvalidRequest
from gateway.exchange import ClientHeaders

_FIT = {
    "off": Way.WHOLE,
    "lossless": Way.LOSSLESS,
    "trim": Way.TRIM,
    "compress": Way.COMPRESS,
}
_WIRES = frozenset({"chat", "responses", "messages"})
_READ = frozenset(
    {
        b"authorization", b"x-api-key", b"content-length", b"content-encoding",
        b"idempotency-key", b"x-weir-mode", b"x-weir-fit", b"x-weir-session", b"x-weir-task",
        b"x-weir-user", b"x-weir-tags", b"x-weir-max-cost-usd", b"x-weir-wire",
        b"cache-control",
    }
)  # fmt: skip
_NAME = re.compile(r"[\x20-\x7e]{1,200}")
_TAG = re.compile(r"[A-Za-z0-9_.\-/]{1,64}=[\x20-\x2b\x2d-\x7e]{0,128}")
MAX_TAGS = 16
# A client's header that providers read and that names no account of ours.
_FORWARDED = frozenset(
    {b"openai-beta", b"anthropic-version", b"anthropic-beta", b"traceparent", b"tracestate"}
)
_PASSED_BACK = ("x-request-id", "request-id", "retry-after", "retry-after-ms", "x-should-retry")
_PASSED_BACK_PREFIXES = ("x-ratelimit-", "openai-", "anthropic-ratelimit-")

RawHeaders = Iterable[tuple[bytes, bytes]]


def read(raw: RawHeaders) -> ClientHeaders:
    """What the gateway reads of a request's headers.

    Raises:
        InvalidRequest: a gateway header with a value it cannot have.
    """
    found = {name: value for name, value in raw if name in _READ}
    get = _getter(found)
    fit = get(b"x-weir-fit")
    if fit is not None and fit not in _FIT:
        raise _bad("x-weir-fit", fit, ", ".join(_FIT))
    mode = get(b"x-weir-mode") or "route"
    if mode not in {"pass", "route"}:
        raise _bad("x-weir-mode", mode, "pass, route")
    wire = get(b"x-weir-wire")
    if wire is not None and wire not in _WIRES:
        raise _bad("x-weir-wire", wire, ", ".join(sorted(_WIRES)))
    length = get(b"content-length")
    return ClientHeaders(
        secret=_secret(found),
        mode=mode,
        fit=_FIT[fit] if fit else Way.COMPRESS,
        session=_name("x-weir-session", get(b"x-weir-session")),
        task=_name("x-weir-task", get(b"x-weir-task")),
        user=_name("x-weir-user", get(b"x-weir-user")),
        tags=_tags(get(b"x-weir-tags")) if b"x-weir-tags" in found else {},
        max_cost_nano=_max_cost(get(b"x-weir-max-cost-usd")),
        idempotency_key=_name("Idempotency-Key", get(b"idempotency-key")),
        wire=wire,
        content_length=int(length) if length is not None and length.isdecimal() else None,
        content_encoding=get(b"content-encoding"),
        cache=_cache(get(b"cache-control")) if b"cache-control" in found else "use",
    )


def _cache(value: str | None) -> str:
    """`off`: an answer is neither given from what is kept, nor kept; `refresh`: only kept."""
    said = (value or "").lower()
    if "no-store" in said:
        return "off"
    return "refresh" if "no-cache" in said or "max-age=0" in said else "use"


def _getter(found: Mapping[bytes, bytes]):  # type: ignore[no-untyped-def]  # a local shorthand
    def get(name: bytes) -> str | None:
        value = found.get(name)
        return value.decode("latin-1").strip() if value is not None else None

    return get


def _secret(found: Mapping[bytes, bytes]) -> str | None:
    value = found.get(b"authorization")
    if value is not None and value[:7].lower() == b"bearer ":
        return value[7:].decode("latin-1").strip()
    value = found.get(b"x-api-key")
    return value.decode("latin-1").strip() if value is not None else None


def _bad(header: str, value: str, known: str) -> InvalidRequest:
    return InvalidRequest(
        f"header {header} is {value[:64]!r}; expected one of: {known}", param=header
    )


def _name(header: str, value: str | None) -> str | None:
    if value is None or value == "":
        return None
    if not _NAME.fullmatch(value):
        raise InvalidRequest(
            f"header {header} must be 1 to 200 printable ASCII characters", param=header
        )
    return value


def _tags(value: str | None) -> dict[str, str]:
    tags: dict[str, str] = {}
    for piece in (value or "").split(","):
        pair = piece.strip()
        if not pair:
            continue
        if not _TAG.fullmatch(pair):
            raise InvalidRequest(
                f"header x-weir-tags holds {pair[:64]!r}; expected k=v,k=v", param="x-weir-tags"
            )
        name, _, content = pair.partition("=")
        tags[name] = content
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(
            f"header x-weir-tags holds {len(tags)} tags, at most {MAX_TAGS}", param="x-weir-tags"
        )
    return tags


def _max_cost(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        amount = decimal_of(value)
    except ValueError:  # no number, no finite one, or of more digits than money has
        amount = Decimal(-1)
    if not 0 <= amount <= 1_000_000:
        raise InvalidRequest(
            f"header x-weir-max-cost-usd is {value[:64]!r}; expected an amount in USD, e.g. 0.25",
            param="x-weir-max-cost-usd",
        )
    return nano(amount)


def forwarded(raw: RawHeaders) -> dict[str, str]:
    """The client's headers that go upstream: a short list, credentials never."""
    found: dict[str, str] = {}
    for name, value in raw:
        if name in _FORWARDED:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
    return found


def passed_back(upstream: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The provider's headers a client may see; cookies and hop-by-hop ones never."""
    kept = []
    for name, value in upstream.items():
        lower = name.lower()
        if lower in _PASSED_BACK or lower.startswith(_PASSED_BACK_PREFIXES):
            if lower == "openai-organization":
                continue
            kept.append((lower.encode("latin-1"), value.encode("latin-1")))
    return kept
