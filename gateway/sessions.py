"""What is remembered of a conversation between its requests: who answered, what is warm.

Bounded and in memory; losing it costs a cache hit at most, never correctness.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping

from billing.record import record
from billing.shadow_cache import Prefix
from compressor.conversation import Conversation
from router.thread import Thread
from router.warmth import Found

DAY_MS = 86_400_000


@record(frozen=True, slots=True)
class Turn:
    """The last answered request of a conversation; no text of it.

    ``number`` is which request of its conversation it was, ``easy`` the human turns in a row
    for which a small model was enough, ``wrote`` the tier of the newest code or plan before
    it, ``root`` the conversation's name. ``task`` and ``promised`` are what a label of its
    answer needs, ``score`` what the shipped weights said (small, gain, enough).
    ``asked`` is the model that the request named.
    """

    model: str
    sent_tokens: int
    at_ms: int
    tier: str = "mid"
    way: str = "whole"
    number: int = 1
    easy: int = 0
    wrote: str | None = None
    root: str = ""
    task: str = ""
    promised: float = 1.0
    score: tuple[float, ...] = ()
    asked: str | None = None

    def row(self) -> tuple[object, ...]:
        """The fields in their order, as an event carries them (``Turn(*row)`` is the turn)."""
        return (
            self.model, self.sent_tokens, self.at_ms, self.tier, self.way, self.number, self.easy,
            self.wrote, self.root, self.task, self.promised, self.score, self.asked,
        )  # fmt: skip


@record(frozen=True, slots=True)
class Asker:
    """One request as memory sees it: whose, when, and which conversation it may belong to."""

    key: str
    team: str
    session_key: str
    at_ms: int


@record(frozen=True, slots=True)
class Recalled:
    """What was remembered for one request, and what settling it needs of that.

    ``prefixes`` are of the prompt as received; ``found`` the longest that each model got
    before. ``name`` is this prompt's, ``root`` the conversation's. ``before`` is the turn that
    this one follows; ``again`` the one that it repeats. ``easy`` counts this turn, too.
    """

    asker: Asker
    prefixes: tuple[Prefix, ...]
    found: Mapping[str, Found]
    name: int
    root: str
    task: str
    before: Turn | None
    again: Turn | None
    warm: Mapping[str, int]
    thread: Thread
    wrote: str | None
    easy: int = 0


def session_key(key: str, named: str | None, conversation: Conversation, at_ms: int) -> str:
    """The conversation a request belongs to, 16 hex digits.

    The client's own session id where it sends one; else key, tools, system prompt, first
    user message and UTC day, which stay the same from turn to turn.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(key.encode())
    if named is not None:
        digest.update(b"\x00named\x00" + named.encode())
        return digest.hexdigest()
    for tool in conversation.tools:
        digest.update(b"\x00tool\x00" + tool.encode("utf-8", "surrogatepass"))
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


class Sessions:
    """The last turn of each recent conversation, by session and by the very prompt it answered."""

    def __init__(self, limit: int = 65_536) -> None:
        self._limit = limit
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._prompts: OrderedDict[int, Turn] = OrderedDict()

    def last(self, session: str) -> Turn | None:
        """The conversation's last turn, or None when it is new here."""
        return self._turns.get(session)

    def turn(self, prompt: int) -> Turn | None:
        """The turn that answered exactly this prompt of a key, by the prompt's name, or None.

        A request goes on with a conversation where one of its prefixes is such a prompt: that
        tells conversations apart that began alike.
        """
        return self._prompts.get(prompt)

    def remember(self, session: str, turn: Turn) -> None:
        """Note who answered; the oldest conversation is forgotten when there are too many."""
        known = self._turns.get(session)
        if known is not None and known.at_ms > turn.at_ms:
            return
        self._turns[session] = turn
        self._turns.move_to_end(session)
        if len(self._turns) > self._limit:
            self._turns.popitem(last=False)

    def keep(self, prompt: int, turn: Turn) -> None:
        """Note who answered this prompt; the oldest is forgotten when there are too many."""
        self._prompts[prompt] = turn
        self._prompts.move_to_end(prompt)
        if len(self._prompts) > self._limit:
            self._prompts.popitem(last=False)  # a plain dict would search past what it lost
