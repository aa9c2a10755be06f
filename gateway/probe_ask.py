"""One question of a probe, put to a provider on its own wire or to a running gateway.

Nothing but the question is sent: no temperature, no system text, so that every model takes
it. What was metered is priced by the same book as every request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from billing.usage import Usage, chat_usage, messages_usage

_TRIES = 5
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
_SHOWN_CHARS = 300
_ANTHROPIC_VERSION = "2023-06-01"


class ProbeFailed(Exception):
    """The provider did not answer a question; the message says what it said instead.

    ``billed``: it may have metered the question all the same.
    """

    def __init__(self, message: str, *, billed: bool = True) -> None:
        self.billed = billed
        super().__init__(message)


class _Later(Exception):
    """Worth another try."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where questions go. ``url`` ends with ``/v1``; ``wire`` is chat or messages."""

    url: str
    model: str
    wire: str = "chat"
    api_key: str | None = None
    limit_field: str = "max_completion_tokens"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Said:
    """An answer; ``usage`` None where the provider did not say what it metered."""

    text: str
    usage: Usage | None


class Asker:
    """Asks over one connection pool; close it with ``close``."""

    def __init__(self, target: Target, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._target = target
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(target.timeout_s, connect=10.0), transport=transport
        )

    async def ask(self, prompt: str, max_output: int) -> Said:
        """The answer to ``prompt``; asked again where the provider is busy.

        Raises:
            ProbeFailed: refused, or still busy after five tries.
        """
        wait = wait_exponential(multiplier=0.5, max=20)
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(_TRIES),
                wait=wait,
                retry=retry_if_exception_type((_Later, httpx.TransportError)),
                reraise=True,
            ):
                with attempt:
                    return await self._once(prompt, max_output)
        except (_Later, httpx.TransportError) as error:
            why = str(error) or type(error).__name__
            raise ProbeFailed(f"no answer after {_TRIES} tries: {why}") from None
        raise ProbeFailed("no try was made")

    async def _once(self, prompt: str, max_output: int) -> Said:
        target = self._target
        messages = [{"role": "user", "content": prompt}]
        body: dict[str, object] = {"model": target.model, "messages": messages}
        headers = {"user-agent": "tokenweir", **target.headers}
        if target.wire == "messages":
            body["max_tokens"] = max_output
            headers |= {"x-api-key": target.api_key or "", "anthropic-version": _ANTHROPIC_VERSION}
            path = "/messages"
        else:
            body[target.limit_field] = max_output
            if target.api_key:
                headers["authorization"] = f"Bearer {target.api_key}"
            path = "/chat/completions"
        reply = await self._client.post(
            target.url.rstrip("/") + path, json=body, headers=headers, follow_redirects=False
        )
        if reply.status_code in _RETRIED:
            raise _Later(f"status {reply.status_code}")
        if reply.status_code != 200:
            said = reply.text[:_SHOWN_CHARS]
            raise ProbeFailed(
                f"{target.url} refused with status {reply.status_code}: {said}", billed=False
            )
        try:
            return _read(reply.json(), target.wire)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ProbeFailed(f"{target.url} sent no {target.wire} answer: {error!r}") from None

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()


def _read(body: Mapping[str, Any], wire: str) -> Said:
    metered = body.get("usage")
    if wire == "messages":
        text = "".join(str(part.get("text", "")) for part in body["content"])
        return Said(text, messages_usage(metered) if metered else None)
    text = body["choices"][0]["message"].get("content") or ""
    return Said(str(text), chat_usage(metered) if metered else None)
