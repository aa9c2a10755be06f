"""A provider's prompt cache: which prefix of a prompt it has seen lately.

Two published rules. OpenAI's is automatic: prompts of 1,024 tokens or more, matched from
the start in steps of 128 tokens. Anthropic's is explicit: what stands before a
``cache_control`` mark is written, and read again when a later prompt starts with exactly
that. Both forget a prefix five minutes after its last use, and keep API keys and models
apart. Prompts are compared by chained hashes, never kept as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from compressor.conversation import Conversation
from compressor.measure import measure
from compressor.media import media_rule
from compressor.tokens import TokenCounter

BLOCK_TOKENS = 128
LEAST_TOKENS = 1024
_STEP = 64  # bytes of text a link of the chain covers
_MOST_ENTRIES = 400_000

Account = tuple[str, str]  # API key, model


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Tokens of one prompt that the cache gave (``read``) and newly keeps (``written``)."""

    read: int = 0
    written: int = 0


class PromptCache:
    """Remembers prefixes for ``ttl_s`` seconds after their last use.

    ``now`` is seconds on any clock that does not step back. Not safe across threads.
    """

    def __init__(self, counter: TokenCounter, ttl_s: float = 300.0) -> None:
        self._counter, self._ttl_s = counter, ttl_s
        self._seen: dict[tuple[Account, bytes], float] = {}

    def automatic(
        self, account: Account, conversation: Conversation, prompt_tokens: int, now: float
    ) -> CacheUse:
        """What OpenAI's rule reads of this prompt; the prompt is warm afterwards.

        Nothing of a prompt under 1,024 tokens is read or kept.
        """
        if prompt_tokens < LEAST_TOKENS:
            return CacheUse()
        raw = "\n".join(_texts(conversation)).encode("utf-8", "surrogatepass")
        chain = list(_chain(raw[start : start + _STEP] for start in range(0, len(raw), _STEP)))
        warm = 0
        while warm < len(chain) and self._is_warm(account, chain[warm], now):
            warm += 1
        matched = self._counter.count(raw[: warm * _STEP].decode("utf-8", "ignore"))
        self._keep(account, chain, now)
        return CacheUse(read=whole_blocks(min(matched, prompt_tokens)))

    def explicit(
        self, account: Account, conversation: Conversation, marks: Iterable[int], now: float
    ) -> CacheUse:
        """What Anthropic's rule reads and writes for a prompt marked after messages ``marks``.

        Mark -1 stands after tools and system text. Nothing happens without a mark, or for a
        marked prefix under 1,024 tokens.
        """
        last = max(marks, default=None)
        if last is None:
            return CacheUse()
        texts = _texts(conversation)
        head = len(texts) - len(conversation.messages)
        system = bool(conversation.messages) and conversation.messages[0].role == "system"
        texts = texts[: head + (system if last < 0 else last + 1)]
        tokens = self._sizes(conversation)[: len(texts)]
        if sum(tokens) < LEAST_TOKENS:
            return CacheUse()
        chain = list(_chain(text.encode("utf-8", "surrogatepass") for text in texts))
        warm = max(
            (end for end, d in enumerate(chain, 1) if self._is_warm(account, d, now)), default=0
        )
        self._keep(account, [*chain[warm - 1 : warm], chain[-1]], now)
        return CacheUse(read=sum(tokens[:warm]), written=sum(tokens[warm:]))

    def _sizes(self, conversation: Conversation) -> list[int]:
        """Tokens of each of ``_texts``, as the whole prompt is counted: never more than it."""
        size = measure(conversation, self._counter, media_rule("openai_tiles"))
        schema = self._counter.count(conversation.response_schema)
        tools = [0] * len(conversation.tools)
        if tools:
            tools[-1] = size.tools_tokens
        return [*tools, schema, *size.message_tokens]

    def _is_warm(self, account: Account, digest: bytes, now: float) -> bool:
        return self._seen.get((account, digest), float("-inf")) >= now

    def _keep(self, account: Account, digests: list[bytes], now: float) -> None:
        if len(self._seen) + len(digests) > _MOST_ENTRIES:
            self._seen = {key: until for key, until in self._seen.items() if until >= now}
        until = now + self._ttl_s
        for digest in digests:
            self._seen[account, digest] = until


def _texts(conversation: Conversation) -> list[str]:
    """The prompt in the order a provider reads it: tools, schema, then the messages."""
    texts = [*conversation.tools, conversation.response_schema]
    return texts + [f"\n<{message.role}>\n{message.text}" for message in conversation.messages]


def _chain(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """A digest a piece, each of all pieces up to it."""
    state = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        state.update(len(piece).to_bytes(8, "big") + piece)
        yield state.digest()


def whole_blocks(tokens: int) -> int:
    """Cached tokens a provider reports for ``tokens`` matched ones."""
    return tokens // BLOCK_TOKENS * BLOCK_TOKENS if tokens >= LEAST_TOKENS else 0
