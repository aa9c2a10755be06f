"""An upstream that is asked in a wire it does not speak: bodies cross, both ways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gateway.errors import BrokenOff, InvalidRequest, UpstreamFailed
from gateway.stream import EventStream, payloads
from gateway.upstream.protocol import Opened, Outbound, Upstream
from gateway.wire.cross import Crossing, Limits, StreamBack, Uncrossable
from gateway.wire.registry import WIRES

# Headers that mean something to one wire's providers only.
_OWN = ("anthropic-", "openai-")
# What reading JSON of another shape than the wire's raises.
_UNFORMED = (ValueError, TypeError, AttributeError, KeyError, IndexError)


class CrossingUpstream:
    """``inner``, which speaks some wires itself, and the ways to ask it in others."""

    def __init__(
        self, inner: Upstream, crossings: Mapping[str, Crossing], output_limit_field: str
    ) -> None:
        self.name = inner.name
        self.inner = inner
        self._crossings, self._field = crossings, output_limit_field

    async def start(self) -> None:
        """Start what lies behind."""
        start = getattr(self.inner, "start", None)
        if start is not None:
            await start()

    async def send(self, call: Outbound) -> Opened:
        """See ``Upstream.send``.

        Raises:
            InvalidRequest: the other wire has no words for it.
        """
        crossing = self._crossings.get(call.wire)
        if crossing is None:
            return await self.inner.send(call)
        body: Mapping[str, Any] = orjson.loads(call.body)
        try:
            asked = crossing.request(body, Limits(call.max_output, self._field))
        except Uncrossable as error:
            raise InvalidRequest(
                f"model {call.model!r} is served on another wire, which cannot take this request: "
                f"{error}"
            ) from None
        except _UNFORMED as error:
            raise InvalidRequest(
                f"model {call.model!r} is served on another wire, and this body has a field of a "
                f"form that cannot be translated ({type(error).__name__}); see the wire's reference"
            ) from None
        crossed = replace(
            call,
            wire=crossing.to,
            path=WIRES[crossing.to].path,
            body=orjson.dumps(asked),
            headers={k: v for k, v in call.headers.items() if not k.startswith(_OWN)},
        )
        opened = await self.inner.send(crossed)
        return CrossedReply(self.name, opened, crossing, crossing.names(body))

    async def close(self) -> None:
        """See ``Upstream.close``."""
        await self.inner.close()


@dataclass(slots=True)
class _Payloads(EventStream):
    """The payloads of whole events, as they come in."""

    found: list[Any] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Only whole events are given, and what they mean is their reader's to say."""
        return True

    def text(self) -> str:
        """Nothing: the reader of the payloads has it."""
        return ""

    def read(self, block: bytes) -> bytes:
        """Take them."""
        self.found.extend(payloads(block))
        return b""


class CrossedReply:
    """A reply in the client's wire, made from one of the provider's."""

    def __init__(
        self, name: str, opened: Opened, crossing: Crossing, names: Mapping[str, str]
    ) -> None:
        self.status, self.headers = opened.status, opened.headers
        self._name, self._opened, self._crossing, self._names = name, opened, crossing, names

    async def read(self) -> bytes:
        """See ``Opened.read``."""
        raw = await self._opened.read()
        try:
            data = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return raw
        if not isinstance(data, dict):
            return raw
        if self.status >= 400:
            return orjson.dumps(self._crossing.error(data, self.status))
        problem = WIRES[self._crossing.to].unsound(data)
        if problem is not None:
            raise UpstreamFailed(f"upstream {self._name!r} answered 200 {problem}")
        try:
            return orjson.dumps(self._crossing.back(data, self._names))
        except _UNFORMED as error:
            raise UpstreamFailed(
                f"upstream {self._name!r} sent an answer of no known form ({type(error).__name__})"
            ) from None

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``Opened.chunks``."""
        back, events = self._crossing.stream(self._names), _Payloads()
        async for chunk in self._opened.chunks():
            events.feed(chunk)
            out = self._brought(back, events)
            if out:
                yield out
        events.rest()
        out = self._brought(back, events) + back.end()
        if out:
            yield out

    def _brought(self, back: StreamBack, events: _Payloads) -> bytes:
        found, events.found = events.found, []
        try:
            return b"".join(back.event(each) for each in found if isinstance(each, dict))
        except _UNFORMED as error:
            raise BrokenOff(
                f"upstream {self._name!r} sent an event of no known form ({type(error).__name__})"
            ) from None

    async def close(self) -> None:
        """See ``Opened.close``."""
        await self._opened.close()
