"""A summariser behind any OpenAI-compatible endpoint: vLLM, llama.cpp's server, a provider.

One request a text, a few at a time. Whatever goes wrong (no connection, a slow answer, an
error status, no text in the reply) costs only that text its summary: an extract is used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.abstractive import Judge, prompt
from compressor.kit import Ended, Meter

if TYPE_CHECKING:
    import httpx

CONNECT_S = 2.0
TOKENS_MARGIN = 1.3  # the endpoint's tokens are not ours; what is too long is cut afterwards


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to ask.

    Args:
        base_url: up to and including ``/v1``.
        model: the name that the endpoint knows.
        api_key: sent as a bearer token; "" sends none.
        timeout_s: for one request.
        deadline_s: for all texts of one call together; the rest are extracted.
        parallel: requests at a time, >= 1.
    """

    base_url: str
    model: str
    api_key: str = ""
    timeout_s: float = 15.0
    deadline_s: float = 20.0
    parallel: int = 4


@dataclass(frozen=True, slots=True)
class _Told:
    """What one call gave."""

    text: str | None
    ended: Ended


class _Nothing:
    """A meter that allows nothing."""

    def before(self, prompt_tokens: int, output_tokens: int) -> str | None:
        """No call may be made."""
        return None

    def after(self, call: str, ended: Ended) -> None:
        """None was."""


class OpenAISummarizer:
    """Asks ``endpoint`` for summaries; blocking, so never inside an event loop.

    Args:
        judge: decides whether an answer is used.
        client: an httpx client to use instead of an own one (it is not closed here).
        meter: asked before each call, and told how it ended; without one none is bounded.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        judge: Judge | None = None,
        client: httpx.Client | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._judge = judge or Judge()
        self._client = client
        self._owned = client is None
        self._meter = meter
        self._parent: OpenAISummarizer | None = None
        self._lock = threading.Lock()
        self.name = f"openai:{endpoint.base_url}:{endpoint.model}:{self._judge.name}"

    def metered(self, meter: Meter | None) -> OpenAISummarizer:
        """The same on the same connections, each call allowed by ``meter``; None allows none."""
        found = OpenAISummarizer(self._endpoint, self._judge, meter=meter or _Nothing())
        found._parent = self._parent or self
        return found

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """One summary a text, in order, each of at most ``max_tokens`` tokens."""
        if not texts:
            return []
        end_s = time.monotonic() + self._endpoint.deadline_s
        with ThreadPoolExecutor(max_workers=min(self._endpoint.parallel, len(texts))) as pool:
            generated = list(
                pool.map(lambda text: self._ask(text, max_tokens, question, end_s), texts)
            )
        return [
            self._judge.verdict(answer, text, max_tokens, question)
            for answer, text in zip(generated, texts, strict=True)
        ]

    def close(self) -> None:
        """Its own connections are closed; a later call opens new ones."""
        with self._lock:
            if self._owned and self._client is not None:
                self._client.close()
                self._client = None

    def _ask(self, text: str, max_tokens: int, question: str, end_s: float) -> str | None:
        left_s = min(self._endpoint.timeout_s, end_s - time.monotonic())
        if left_s <= 0:
            return None
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": prompt(text, max_tokens, question),
            "max_tokens": int(max_tokens * TOKENS_MARGIN),
            "temperature": 0,
        }
        if self._meter is None:
            return self._sent(body, left_s).text
        words = "".join(each["content"] for each in prompt(text, max_tokens, question))
        call = self._meter.before(self._judge.tokens(words), body["max_tokens"])
        if call is None:
            return None
        told = _Told(None, Ended(0, None, billed=True))
        try:
            told = self._sent(body, left_s)
        finally:
            self._meter.after(call, told.ended)
        return told.text

    def _sent(self, body: Mapping[str, Any], left_s: float) -> _Told:
        """One call, and what it said; whatever goes wrong, there is no text."""
        import httpx

        key = self._endpoint.api_key
        try:
            reply = self.connected().post(
                self._endpoint.base_url.rstrip("/") + "/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(left_s, connect=min(CONNECT_S, left_s)),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL):
            return _Told(None, Ended(0, None, billed=False))
        except (httpx.HTTPError, ValueError):
            return _Told(None, Ended(0, None, billed=True))
        fine = reply.status_code == httpx.codes.OK
        try:
            data = reply.json()
        except ValueError:
            return _Told(None, Ended(reply.status_code, None, billed=fine))
        usage = data.get("usage") if isinstance(data, dict) else None
        known = usage if isinstance(usage, dict) and usage else None
        name = data.get("id") if isinstance(data, dict) else None
        ended = Ended(reply.status_code, known, fine, name if isinstance(name, str) else None)
        return _Told(_content(data) if fine else None, ended)

    def connected(self) -> httpx.Client:
        """The client that asks, opened if need be."""
        import httpx

        if self._parent is not None:
            return self._parent.connected()
        with self._lock:
            if self._client is None:
                self._client = httpx.Client()
            return self._client


def _content(reply: Any) -> str | None:
    """The text of a chat completion; None where the reply has another shape."""
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return content if isinstance(content, str) and content.strip() else None
