"""What a conversation's past means for its next request.

Who answered last and in which way, who wrote the code or plan that is referred to, how long
it will go on, what is warm, which levers have lost money here, what labels of this task say.
All JSON-able, since a receipt keeps it and a replay reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

import re2

from billing.record import record
from compressor.conversation import Conversation, Message, PartKind

STAYS_EASY = 2  # easy turns in a row before a conversation comes down again: fast up, slow down
LONG_ANSWER_CHARS = 40_000  # of an answer, this much is looked at
REASKED = 0.3  # of answers that were not good enough, the share asked again, until it is known


@record(frozen=True, slots=True)
class Thread:
    """A conversation as a decision sees it; the defaults are those of a first request.

    Args:
        number: which request of the conversation this is, from 1.
        way_before: how the last prompt was sent; None where nothing is remembered.
        asked: the model that the last request named; None where nothing is remembered.
        easy: human turns in a row, up to the last, for which a small model was enough;
            None where nothing is remembered.
        floor: the tier that wrote what this turn refers to, ``asked`` where nobody knows who
            did, None where it refers to nothing.
        turns_left: expected requests of this conversation, this one included, >= 1.
        quick: the share of next requests that come while the cache lives.
        ups: the share of requests after a small model's answer that need a larger one.
        warm_fit: expected warm tokens of a fitted prompt, by ``model way``.
        writes: the component that new tokens are billed as, by model, where writing costs.
        keeps: the chance that a model's cache keeps a prompt to the next quick request.
        off: levers that have lost money, and in which scope (`router.gate`).
        reasked: the share of too weak answers that are asked again.
        small, large: (labels, share of good ones) of small and larger models on this task.
        asks_work: whether a short turn asks for a proof, a design or code of its own.
        summary: nano-USD that the summariser takes for a million tokens in and out.
        spent: whether the key's budget of escalations is used up.
    """

    number: int = 1
    way_before: str | None = None
    asked: str | None = None
    easy: int | None = None
    floor: str | None = None
    turns_left: float = 1.0
    quick: float = 0.0
    ups: float = 0.0
    warm_fit: Mapping[str, int] = field(default_factory=dict)
    writes: Mapping[str, str] = field(default_factory=dict)
    keeps: Mapping[str, float] = field(default_factory=dict)
    off: Mapping[str, str] = field(default_factory=dict)
    reasked: float = REASKED
    small: Sequence[float] = (0.0, 0.0)
    large: Sequence[float] = (0.0, 0.0)
    asks_work: bool = False
    summary: Sequence[int] = (0, 0)
    spent: bool = False


_WORK = (
    r"(?:code|plan|answer|solution|proof|script|query|function|class|method|tests?|design|patch"
    r"|diff|version|migration|schema|steps?|approach|file|module|endpoint|regex|command|draft"
    r"|implementation|program|table|config(?:uration)?|changes?)"
)
_BACK = re2.compile(
    r"(?i)\b(?:(?:your|the|this|that|these|those|its) (?:\w+ )?" + _WORK + r"\b|steps? \d+\b"
    r"|(?:commit|merge|apply|deploy|run|ship|push|tests?|fix|refactor|extend|change|rewrite|explain"
    r"|document|improve|simplify|convert|translate|undo|revert|use|finish|review|check|for|of|to"
    r"|about) (?:it|that|this|these|those|them|all of (?:it|that))\b"
    r"|you (?:wrote|said|suggested|proposed|did|made)\b|go on\b|continue\b|carry on\b|proceed\b"
    r"|as (?:above|before)\b|(?:above|previously|earlier)\b)"
)
_PRONOUN = re2.compile(r"(?i)\b(?:it|its|they|them|that one|the same|instead|also)\b")
SHORT_WORDS = 12  # in a turn no longer than this a pronoun has nothing else to point at
_STEPS = re2.compile(
    r"(?m)^\s{0,3}(?:\d{1,2}[.)]|[-*] \[.\]|#{1,4} (?:step|phase|plan)|step \d+)\s"
)
FEWEST_STEPS = 3


def refers_back(question: str) -> bool:
    """Whether a turn speaks of what was said before it."""
    shown = question[:LONG_ANSWER_CHARS]
    if len(shown.split()) <= SHORT_WORDS and _PRONOUN.search(shown):
        return True
    return bool(_BACK.search(shown))


def holds_work(message: Message) -> bool:
    """Whether an answer holds work that later turns build on: code, a patch, a plan in steps."""
    text = "\n".join(p.text for p in message.parts if p.kind is PartKind.TEXT)
    shown = text[:LONG_ANSWER_CHARS]
    if "```" in shown or any(part.kind is PartKind.TOOL_CALL for part in message.parts):
        return True
    return len(_STEPS.findall(shown)) >= FEWEST_STEPS


def last_answers(conversation: Conversation) -> tuple[Message, ...]:
    """The assistant's messages since the last human turn before this one, oldest first.

    In a loop of tools they are several; all of them are one model's.
    """
    human = conversation.last_human()
    found: list[Message] = []
    for message in reversed(conversation.messages[: human or 0]):
        if message.role == "assistant":
            found.append(message)
        elif message.role == "user" and any(p.kind is PartKind.TEXT for p in message.parts):
            break
    return tuple(reversed(found))


def request_number(conversation: Conversation) -> int:
    """Which request of its conversation this is, from 1: each answer in it was one."""
    return 1 + sum(message.role == "assistant" for message in conversation.messages)
