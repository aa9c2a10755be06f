"""What a provider's prompt cache would have held, had every prompt been sent whole.

The tokenmaxxed counterfactual may not price its prompts at list price: the earlier turns of
a conversation would have been sent whole, too, and the provider would have cached them. A
shadow cache replays the *original* prefixes, per account and model, under the provider's
own rules. Pure: the instant is an argument; bounded: the least recently used prefix goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from billing.record import record

WriteComponent = Literal["cache_write_5m", "cache_write_30m", "cache_write_1h", "cache_write_12h"]


@record(frozen=True, slots=True)
class CacheRule:
    """How a provider caches prompts.

    ``ttl_ms`` since the last use; a prefix is cached from ``minimum_tokens`` on, in whole
    blocks of ``block_tokens``; what is newly cached is billed as ``write``, or as plain
    input where that is None.
    """

    ttl_ms: int
    minimum_tokens: int = 1024
    block_tokens: int = 1
    write: WriteComponent | None = None

    def cacheable(self, tokens: int) -> int:
        """How many of a prefix's tokens a provider keeps."""
        if tokens < self.minimum_tokens:
            return 0
        return tokens // self.block_tokens * self.block_tokens


@record(frozen=True, slots=True)
class Prefix:
    """A prompt up to the end of one message: hash of all its text, tokens of all of it."""

    digest: bytes
    tokens: int


@record(frozen=True, slots=True)
class CacheSplit:
    """A prompt's tokens: read from the cache, written to it, neither. They sum to it."""

    read: int
    written: int
    fresh: int
    write: WriteComponent | None = None


class ShadowCache:
    """Original prefixes by account and model, with the instant they were last used.

    Not thread-safe: one caller at a time.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._used: OrderedDict[tuple[str, str, bytes], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def replay(
        self, owner: tuple[str, str], prompt: Sequence[Prefix], rule: CacheRule, at_ms: int
    ) -> CacheSplit:
        """How a prompt would have been billed; afterwards its prefixes are in the cache.

        Args:
            owner: account (a key's own name) and model: caches are not shared beyond.
            prompt: every prefix that ends with a message, shortest first; the last is the
                whole prompt.
        """
        if not prompt:
            return CacheSplit(0, 0, 0)
        whole = prompt[-1].tokens
        read = 0
        for prefix in reversed(prompt):
            used = self._used.get((*owner, prefix.digest))
            if used is not None and 0 <= at_ms - used < rule.ttl_ms:
                read = rule.cacheable(prefix.tokens)
                break
        kept = rule.cacheable(whole)
        if kept:
            self._remember(owner, prompt, rule, at_ms)
        written = max(kept - read, 0) if rule.write else 0
        return CacheSplit(read, written, whole - read - written, rule.write)

    def _remember(
        self, owner: tuple[str, str], prompt: Sequence[Prefix], rule: CacheRule, at_ms: int
    ) -> None:
        for prefix in prompt:
            if prefix.tokens >= rule.minimum_tokens:
                key = (*owner, prefix.digest)
                self._used[key] = at_ms
                self._used.move_to_end(key)
        while len(self._used) > self._limit:
            self._used.popitem(last=False)
