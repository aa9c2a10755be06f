"""Which texts of a request may be made smaller at all; everything else is never touched.

Protected: system and developer messages, tools and schemas, the instruction of the last
human turn, tool calls, the newest calls' results, everything up to the newest cache mark
or part we do not understand, media, reasoning, the newest ``keep_recent`` tokens of
history, and whatever is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from compressor.conversation import Conversation, Part, PartKind, Path
from compressor.measure import human_split
from compressor.tokens import TokenCounter

SMALL_TOKENS = 500


@dataclass(frozen=True, slots=True)
class OpenSpan:
    """Characters ``start`` to ``end`` of a part's text that a fit may replace.

    ``text`` is the whole part's text, ``tokens`` those of the span. ``age`` counts
    messages from the newest (0). ``asked`` is True for the document of the last human turn.
    """

    message: int
    part: int
    path: Path
    text: str
    start: int
    end: int
    tokens: int
    age: int
    asked: bool

    @property
    def body(self) -> str:
        """The span's own text."""
        return self.text[self.start : self.end]


def open_spans(
    conversation: Conversation, counter: TokenCounter, keep_recent: int
) -> tuple[OpenSpan, ...]:
    """Every text that may be made smaller, in order; disjoint, each of 500 tokens or more."""
    newest = len(conversation.messages) - 1
    last_human = conversation.last_human()
    frozen = _frozen_until(conversation)
    answered = _newest_calls(conversation)
    spans: list[OpenSpan] = []
    recent = 0
    for number in range(newest, -1, -1):
        message = conversation.messages[number]
        kept_whole = recent < keep_recent and number != last_human
        found = list(_candidates(conversation, number, counter, last_human))
        for part_number, start, end in reversed(found):
            part = message.parts[part_number]
            if part.path is None or (number, part_number) <= frozen or kept_whole:
                continue
            if part.kind is PartKind.TOOL_RESULT and part.call_id in answered:
                continue
            tokens = counter.count(part.text[start:end])
            if tokens >= SMALL_TOKENS:
                place = (number, part_number, part.path)
                asked = number == last_human
                spans.append(
                    OpenSpan(*place, part.text, start, end, tokens, newest - number, asked)
                )
        if number != last_human:
            recent += sum(counter.count_many([part.text for part in message.parts if part.text]))
    return tuple(reversed(spans))


def pending_arguments(conversation: Conversation) -> str:
    """What the newest tool calls asked for: it tells what the model is looking for."""
    answered = _newest_calls(conversation)
    return "\n".join(
        part.text
        for message in conversation.messages
        for part in message.parts
        if part.kind is PartKind.TOOL_CALL and part.call_id in answered
    )


def _candidates(
    conversation: Conversation, number: int, counter: TokenCounter, last_human: int | None
) -> Iterator[tuple[int, int, int]]:
    """(part, start, end) of each replaceable text of one message, in order."""
    message = conversation.messages[number]
    if message.role in ("system", "developer"):
        return
    if number == last_human:
        _, numbers, split = human_split(message, counter)
        documents = {(numbers[span.text], span.start, span.end) for span in split.documents}
        results = {
            (at, 0, len(part.text))
            for at, part in enumerate(message.parts)
            if part.kind is PartKind.TOOL_RESULT
        }
        yield from sorted(documents | results)
        return
    for at, part in enumerate(message.parts):
        if part.kind in (PartKind.TEXT, PartKind.TOOL_RESULT) and part.text:
            yield at, 0, len(part.text)


def _frozen_until(conversation: Conversation) -> tuple[int, int]:
    """(message, part) of the newest cache mark or unknown part; (-1, -1) without one."""
    frozen = (-1, -1)
    for number, message in enumerate(conversation.messages):
        for at, part in enumerate(message.parts):
            if part.cache_mark or part.kind is PartKind.OPAQUE:
                frozen = (number, at)
    return frozen


def _newest_calls(conversation: Conversation) -> frozenset[str]:
    """Ids of the last assistant step's tool calls; one wire writes a step as several messages."""
    found: list[str] = []
    begun = False
    for message in reversed(conversation.messages):
        if message.role == "assistant":
            begun = True
            found += _ids(message.parts)
        elif begun:
            break
    return frozenset(found)


def _ids(parts: tuple[Part, ...]) -> Iterator[str]:
    for part in parts:
        if part.kind is PartKind.TOOL_CALL and part.call_id is not None:
            yield part.call_id
