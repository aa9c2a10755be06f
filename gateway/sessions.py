"""What is remembered of a conversation between its requests: who answered, what is warm.

Bounded and in memory; losing it costs a cache hit at most, never correctness.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from compressor.conversation import Conversation
from router.catalog import ModelCard

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Turn:
    """The last answered request of a conversation."""

    model: str
    sent_tokens: int
    at_ms: int


def session_key(key: str, named: str | None, conversation: Conversation, at_ms: int) -> str:
    """The conversation a request belongs to, 16 hex digits.

    The client's own session id where it sends one; else key, system prompt, first user
    message and UTC day, which stay the same from turn to turn.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(key.encode())
    if named is not None:
        digest.update(b"\x00named\x00" + named.encode())
        return digest.hexdigest()
    for message in conversation.messages:
        digest.update(b"\x00" + message.text.encode("utf-8", "surrogatepass"))
        if message.role == "user":
            break
    digest.update(str(at_ms // DAY_MS).encode())
    return digest.hexdigest()


def in_holdout(session: str, share: float) -> bool:
    """Whether a session is among the share that passes untouched; the same answer always."""
    if share <= 0:
        return False
    digest = hashlib.blake2b(b"holdout\x00" + session.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def warm_tokens(cards: Mapping[str, ModelCard], last: Turn | None, at_ms: int) -> Mapping[str, int]:
    """Tokens of the conversation that its last model's provider probably still holds."""
    if last is None or last.model not in cards:
        return {}
    card = cards[last.model]
    fresh = at_ms - last.at_ms < (card.cache_ttl_s or 0) * 1000
    enough = card.cache_min_tokens is not None and last.sent_tokens >= card.cache_min_tokens
    return {last.model: last.sent_tokens} if fresh and enough else {}


class Sessions:
    """The last turn of each recent conversation."""

    def __init__(self, limit: int = 65_536) -> None:
        self._limit = limit
        self._turns: OrderedDict[str, Turn] = OrderedDict()

    def last(self, session: str) -> Turn | None:
        """The conversation's last turn, or None when it is new here."""
        return self._turns.get(session)

    def remember(self, session: str, turn: Turn) -> None:
        """Note who answered; the oldest conversation is forgotten when there are too many."""
        self._turns[session] = turn
        self._turns.move_to_end(session)
        if len(self._turns) > self._limit:
            self._turns.popitem(last=False)
