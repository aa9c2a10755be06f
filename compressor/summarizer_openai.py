"""A summariser behind any OpenAI-compatible endpoint: vLLM, llama.cpp's server, a provider.

One request a text, a few at a time. Whatever goes wrong (no connection, a slow answer, an
error status, no text in the reply) costs only that text its summary: an extract is used.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compressor.abstractive import Judge, prompt

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


class OpenAISummarizer:
    """Asks ``endpoint`` for summaries; blocking, so never inside an event loop.

    Args:
        judge: decides whether an answer is used.
        client: an httpx client to use instead of an own one (it is not closed here).
    """

    def __init__(
        self, endpoint: Endpoint, judge: Judge | None = None, client: httpx.Client | None = None
    ) -> None:
        self._endpoint = endpoint
        self._judge = judge or Judge()
        self._client = client
        self._owned = client is None
        self._lock = threading.Lock()
        self.name = f"openai:{endpoint.base_url}:{endpoint.model}:{self._judge.name}"

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
        import httpx

        left_s = min(self._endpoint.timeout_s, end_s - time.monotonic())
        if left_s <= 0:
            return None
        body = {
            "model": self._endpoint.model,
            "messages": prompt(text, max_tokens, question),
            "max_tokens": int(max_tokens * TOKENS_MARGIN),
            "temperature": 0,
        }
        key = self._endpoint.api_key
        try:
            reply = self._connected().post(
                self._endpoint.base_url.rstrip("/") + "/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(left_s, connect=min(CONNECT_S, left_s)),
            )
            return _content(reply.json()) if reply.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None

    def _connected(self) -> httpx.Client:
        import httpx

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
