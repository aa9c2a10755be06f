"""How large a request is, by whom, and what it asks.

Text is counted with the model family's own encoding and OpenAI's chat framing: 3 tokens
a message, 1 for a name, 3 to prime the reply. Tools follow the rule of OpenAI's cookbook
("How to count tokens with tiktoken"), carried on into nested schemas.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from compressor.conversation import Conversation, Message, PartKind
from compressor.media import MediaRule, count_media
from compressor.question import Split, split_turn
from compressor.record import record
from compressor.tokens import CachedCounter, TokenCounter

MESSAGE_TOKENS = 3
NAME_TOKENS = 1
PRIMING_TOKENS = 3
CALL_TOKENS = 3
FUNCTION_TOKENS = 7
PROPERTIES_TOKENS = 3
PROPERTY_TOKENS = 3
ENUM_TOKENS = -3
ENUM_ITEM_TOKENS = 3
TOOLS_END_TOKENS = 12

MEDIA_KINDS = frozenset({PartKind.IMAGE, PartKind.AUDIO, PartKind.FILE})

T = TypeVar("T")


@record(frozen=True, slots=True)
class Measurement:
    """A request's size in tokens; every count >= 0.

    ``prompt_tokens`` is the whole prompt: messages with framing, tools, schema, media.
    ``message_tokens`` has one entry a message, its framing and media included.
    ``by_role`` sums those by role. ``exact`` is False when the tokenizer is an estimate
    or a medium's size had to be assumed. ``segments`` counts the pieces a fit could tell
    apart. ``question`` is the instruction of the last human turn (<= 4,000 characters);
    ``document_tokens`` the rest of that turn.
    """

    prompt_tokens: int
    message_tokens: tuple[int, ...]
    by_role: Mapping[str, int]
    tools_tokens: int
    media_tokens: int
    tokenizer: str
    exact: bool
    segments: int
    question: str
    document_tokens: int


def measure(
    conversation: Conversation, counter: TokenCounter, media_rule: MediaRule
) -> Measurement:
    """Measure ``conversation`` as ``counter`` and ``media_rule`` see it."""
    texts, owners = _texts(conversation)
    counts = counter.count_many(texts)
    totals = [MESSAGE_TOKENS] * len(conversation.messages)
    for owner, count in zip(owners, counts, strict=True):
        totals[owner] += count
    media_tokens, exact = 0, counter.exact
    for number, message in enumerate(conversation.messages):
        extra = NAME_TOKENS if message.name else 0
        for part in message.parts:
            if part.kind in MEDIA_KINDS:
                media = count_media(part, media_rule)
                media_tokens += media.tokens
                extra += media.tokens
                exact = exact and media.exact
            elif part.kind is PartKind.TOOL_CALL:
                extra += CALL_TOKENS
        totals[number] += extra
    by_role: dict[str, int] = {}
    for message, total in zip(conversation.messages, totals, strict=True):
        by_role[message.role] = by_role.get(message.role, 0) + total
    tools = tools_tokens(conversation, counter)
    schema = counter.count(conversation.response_schema) if conversation.response_schema else 0
    question, document_tokens = _asked(conversation, counter)
    return Measurement(
        prompt_tokens=sum(totals) + tools + schema + PRIMING_TOKENS,
        message_tokens=tuple(totals),
        by_role=by_role,
        tools_tokens=tools,
        media_tokens=media_tokens,
        tokenizer=counter.name,
        exact=exact,
        segments=sum(_pieces(text) for text in texts),
        question=question,
        document_tokens=document_tokens,
    )


def tools_tokens(conversation: Conversation, counter: TokenCounter) -> int:
    """Tokens of all tool schemas, the frame around them included; 0 without tools."""
    if not conversation.tools:
        return 0
    return TOOLS_END_TOKENS + sum(
        remember(counter, tool, "tool:" + counter.name, lambda text: _tool_tokens(text, counter))
        for tool in conversation.tools
    )


def remember(counter: TokenCounter, text: str, kind: str, compute: Callable[[str], T]) -> T:
    """``compute(text)``, kept beside the counts where the counter can keep it."""
    if isinstance(counter, CachedCounter):
        return counter.remember(text, kind, compute)
    return compute(text)


def human_split(message: Message, counter: TokenCounter) -> tuple[list[str], list[int], Split]:
    """A human message's texts, the number of the part each stands in, and their split."""
    numbers = [
        number
        for number, part in enumerate(message.parts)
        if part.kind is PartKind.TEXT and part.text
    ]
    texts = [message.parts[number].text for number in numbers]
    if len(texts) == 1:
        split = remember(counter, texts[0], "split", lambda text: split_turn((text,)))
    else:
        split = split_turn(texts)
    return texts, numbers, split


def _asked(conversation: Conversation, counter: TokenCounter) -> tuple[str, int]:
    """The instruction of the last human turn, and how many tokens of it are document."""
    last = conversation.last_human()
    if last is None:
        return "", 0
    texts, _, split = human_split(conversation.messages[last], counter)
    question = split.question(texts)
    if not split.documents:
        return question, 0
    said = [texts[span.text][span.start : span.end] for span in split.instruction]
    whole = sum(counter.count_many(texts))
    return question, max(0, whole - sum(counter.count_many(said)))


def _texts(conversation: Conversation) -> tuple[list[str], list[int]]:
    """Every text that the model reads in a message, and the message it belongs to."""
    texts: list[str] = []
    owners: list[int] = []
    for number, message in enumerate(conversation.messages):
        texts.append(message.role)
        owners.append(number)
        if message.name:
            texts.append(message.name)
            owners.append(number)
        for part in message.parts:
            if part.text and part.kind not in MEDIA_KINDS:
                texts.append(part.text)
                owners.append(number)
    return texts, owners


def _pieces(text: str) -> int:
    """Pieces of a text that stand apart: paragraphs, or lines where there are none."""
    if len(text) < 1_000:
        return 1
    return 1 + (text.count("\n\n") or text.count("\n") // 4)


def _tool_tokens(text: str, counter: TokenCounter) -> int:
    """One tool schema by the cookbook's rule; as plain text where it is no such schema."""
    try:
        tool: Any = json.loads(text)
    except ValueError:
        return FUNCTION_TOKENS + counter.count(text)
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return FUNCTION_TOKENS + counter.count(text)
    lines = [f"{function['name']}:{_described(function)}"]
    frame = FUNCTION_TOKENS + _walk(function.get("parameters", function.get("input_schema")), lines)
    return frame + sum(counter.count_many(lines))


def _walk(schema: Any, lines: list[str]) -> int:
    """Frame tokens of a JSON schema; the texts that it shows are added to ``lines``."""
    if not isinstance(schema, dict):
        return 0
    frame = 0
    properties = schema.get("properties")
    if isinstance(properties, dict) and properties:
        frame += PROPERTIES_TOKENS
        for key, value in properties.items():
            frame += PROPERTY_TOKENS
            shown = value if isinstance(value, dict) else {}
            lines.append(f"{key}:{shown.get('type', '')}:{_described(shown)}")
            frame += _walk(shown, lines)
    options = schema.get("enum")
    if isinstance(options, list):
        frame += ENUM_TOKENS + ENUM_ITEM_TOKENS * len(options)
        lines.extend(str(option) for option in options)
    frame += _walk(schema.get("items"), lines)
    for key in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(key)
        if isinstance(branches, list):
            frame += sum(_walk(branch, lines) for branch in branches)
    return frame


def _described(schema: Mapping[str, Any]) -> str:
    description = schema.get("description", "")
    return description.rstrip(".") if isinstance(description, str) else ""
