"""Every other provider, through litellm: the only file that imports it.

litellm takes seconds to import and fetches its price map unless told not to, so it is
imported when the configuration names such an upstream, off the event loop, and told.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

from gateway.errors import (
    BrokenOff,
    ConnectTimeout,
    Unanswered,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.upstream.patience import Patience
from gateway.upstream.protocol import Outbound, Timeouts

# OpenAI's chat fields. litellm's own arguments (a host, a key, a mock) are named like fields
# of a body, so whatever is not listed here goes to the provider and never to litellm.
_FIELDS = frozenset(
    {
        "messages", "audio", "frequency_penalty", "function_call", "functions",
        "inference_geo", "logit_bias",
        "logprobs", "max_completion_tokens", "max_tokens", "modalities", "n",
        "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort",
        "response_format", "seed", "service_tier", "stop", "stream_options", "temperature",
        "thinking", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options",
    }
)  # fmt: skip

_NO_CONNECTION = frozenset(
    {"ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError"}
)
_NEVER_SENT = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)


def load_litellm() -> Any:
    """The litellm module, quiet and offline."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.drop_params = False
    return litellm


class TranslatedUpstream:
    """A provider whose wire litellm translates to and from OpenAI's chat wire."""

    def __init__(
        self,
        name: str,
        timeouts: Timeouts,
        *,
        api_key: str | None,
        base_url: str | None,
    ) -> None:
        self.name = name
        self._timeouts = timeouts
        # Without the last one litellm acts on tools itself, and needs a package for it.
        self._fixed: dict[str, Any] = {
            "num_retries": 0,
            "timeout": timeouts.total,
            "_skip_mcp_handler": True,
        }
        if api_key:
            self._fixed["api_key"] = api_key
        if base_url:
            self._fixed["api_base"] = base_url
        self._secret = api_key
        self._litellm: Any = None

    async def start(self) -> None:
        """Import litellm in a thread, before the gateway says it is ready."""
        if self._litellm is None:
            self._litellm = await asyncio.to_thread(load_litellm)

    async def send(self, call: Outbound) -> TranslatedReply:
        """See ``Upstream.send``; a provider's own refusal comes back as a reply."""
        await self.start()
        # A big body takes milliseconds to parse: numbers as litellm's own parser reads them.
        body = json.loads(call.body)
        asked = self._arguments(body, call)
        patience = Patience(self._timeouts, asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(self._timeouts.first_byte):
                answer = await self._litellm.acompletion(**asked)
        except TimeoutError:
            raise UpstreamTimeout(
                f"upstream {self.name!r} sent nothing within {self._timeouts.first_byte:g} s"
            ) from None
        except Exception as error:  # noqa: BLE001 - litellm raises classes of many bases
            return self._refusal(error)
        if call.stream:
            return TranslatedReply(self.name, 200, stream=answer, patience=patience)
        return TranslatedReply(self.name, 200, body=orjson.dumps(_plain(answer)))

    def _arguments(self, body: Mapping[str, Any], call: Outbound) -> dict[str, Any]:
        asked = {key: value for key, value in body.items() if key in _FIELDS}
        rest = {k: v for k, v in body.items() if k not in _FIELDS and k not in {"model", "stream"}}
        if rest:
            asked["extra_body"] = rest
        return {**asked, "model": call.model, "stream": call.stream, **self._fixed}

    def _refusal(self, error: Exception) -> TranslatedReply:
        status = getattr(error, "status_code", None)
        kind = type(error).__name__
        if kind in {"Timeout", "APITimeoutError"}:
            late = ConnectTimeout if _unsent(error) else UpstreamTimeout
            raise late(f"upstream {self.name!r} timed out") from None
        if not isinstance(status, int) or not 400 <= status < 600 or kind == "APIConnectionError":
            if _unsent(error):
                told = f"upstream {self.name!r} could not be reached ({kind})"
                raise UpstreamFailed(told) from None
            raise Unanswered(f"upstream {self.name!r} gave no answer ({kind})") from None
        message = str(getattr(error, "message", error))[:1000]
        if self._secret:
            message = message.replace(self._secret, "***")
        body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        retry = {k: headers[k] for k in ("retry-after", "retry-after-ms") if k in headers}
        return TranslatedReply(self.name, status, body=orjson.dumps(body), headers=retry)

    async def close(self) -> None:
        """litellm keeps its own connections; nothing is held here."""


def _unsent(error: BaseException | None) -> bool:
    """Whether an error comes of a connection that was never made: then nothing was billed."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if type(error).__name__ in _NO_CONNECTION or isinstance(error, _NEVER_SENT):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class TranslatedReply:
    """A translated answer: a whole body, or litellm's chunks as OpenAI events."""

    def __init__(
        self,
        name: str,
        status: int,
        *,
        body: bytes = b"",
        stream: Any = None,
        patience: Patience | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        kind = "text/event-stream" if stream is not None else "application/json"
        self.headers: Mapping[str, str] = {"content-type": kind, **(headers or {})}
        self._name, self._body, self._stream = name, body, stream
        clock = asyncio.get_running_loop().time
        self._patience = patience or Patience(Timeouts(), clock())

    async def read(self) -> bytes:
        """The translated JSON body."""
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """One OpenAI event a chunk, then ``[DONE]``."""
        if self._stream is None:
            yield self._body
            return
        iterator = aiter(self._stream)
        clock = asyncio.get_running_loop().time
        try:
            while True:
                async with asyncio.timeout_at(self._patience.due(clock())):
                    chunk = await anext(iterator, None)
                if chunk is None:
                    break
                self._patience.heard(b"")
                yield b"data: " + orjson.dumps(_plain(chunk)) + b"\n\n"
        except TimeoutError:
            raise UpstreamTimeout(self._patience.exceeded(self._name)) from None
        except Exception as error:  # noqa: BLE001 - litellm raises classes of many bases
            raise BrokenOff(
                f"upstream {self._name!r} broke off its answer ({type(error).__name__})"
            ) from None
        yield b"data: [DONE]\n\n"

    async def close(self) -> None:
        """Tell litellm's stream that nobody reads on."""
        closer = getattr(self._stream, "aclose", None)
        if closer is not None:
            await closer()


def _plain(answer: Any) -> dict[str, Any]:
    """litellm's answer as OpenAI JSON, without its private fields."""
    data: dict[str, Any] = answer.model_dump(mode="json", exclude_none=False)
    for key in ("citations", "_hidden_params", "provider_specific_fields"):
        data.pop(key, None)
    if data.get("usage") is None:
        data.pop("usage", None)
    elif data.get("object") == "chat.completion.chunk" and not _says(data):
        data["choices"] = []  # OpenAI's own last chunk of a stream carries usage alone
    return data


def _says(chunk: Mapping[str, Any]) -> bool:
    """Whether a chunk holds any piece of an answer, or its end."""
    return any(
        choice.get("finish_reason") or any((choice.get("delta") or {}).values())
        for choice in chunk.get("choices") or []
    )
