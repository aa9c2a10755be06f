"""Which texts of a conversation's past may become memories, and when.

History is cut from its start into segments at turn borders. A segment, once closed,
never changes when the conversation grows, and it is remembered (whole, at once) when
``keep_recent`` tokens lie behind it and the past has doubled. So a turn mostly appends to
the bytes of the turn before, which a provider's prompt cache needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.conversation import Conversation, Message, Part, PartKind, Path
from compressor.measure import Measurement
from compressor.recipe import Recipe, Way

SMALLEST_SEGMENT = 512
LARGEST_SEGMENT = 4_096
FRAME_TOKENS = 5  # of a message whatever is left of it: role, separators, an ellipsis
MEMORY_MARGIN = 1.5  # memories end larger than the ratio says: short texts, JSON, code
REPLACEABLE = frozenset({PartKind.TEXT, PartKind.TOOL_RESULT})
STANDING_ROLES = frozenset({"system", "developer"})
_STEP_GOES_ON = frozenset({PartKind.TOOL_CALL, PartKind.REASONING})


@dataclass(frozen=True, slots=True)
class Item:
    """One text that may be replaced; ``message`` is the number of its message."""

    message: int
    path: Path
    text: str
    role: str
    kind: PartKind


@dataclass(frozen=True, slots=True)
class Segment:
    """Items of messages ``first`` to ``last`` (included), in order."""

    number: int
    first: int
    last: int
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class History:
    """The past of a conversation.

    ``closed`` are the full segments behind the recent tokens, each remembered as a whole or
    not at all; ``open_`` what else lies there, in smaller ones: used only where ``closed`` do
    not save enough.
    """

    closed: tuple[Segment, ...]
    open_: tuple[Segment, ...]


def past(
    conversation: Conversation, measurement: Measurement, recipe: Recipe, *, ahead: bool = False
) -> History:
    """The history of ``conversation``, cut the same way in every later turn of it.

    ``ahead`` also closes what is full and still recent: a later turn will find it closed.
    """
    size = segment_tokens(recipe)
    weights = [
        0 if message.role in STANDING_ROLES else tokens
        for message, tokens in zip(conversation.messages, measurement.message_tokens, strict=True)
    ]
    recent = recent_tokens(recipe)
    behind = _behind(weights)
    frozen = protected(conversation)
    messages = conversation.messages
    closed: list[tuple[int, int]] = []
    start = 0
    for end in _segment_ends(messages, weights, size):
        if behind[end] < recent and not ahead:
            break
        closed.append((start, end))
        start = end
    open_: list[tuple[int, int]] = []
    at = start
    for end in _segment_ends(messages, [0] * at + weights[at:], size // 4):
        if behind[end] < recent:
            break
        open_.append((at, end))
        at = end
    segments = [
        _segment(conversation, number, span, frozen)
        for number, span in enumerate((*closed, *open_))
    ]
    return History(tuple(segments[: len(closed)]), tuple(segments[len(closed) :]))


def segment_tokens(recipe: Recipe) -> int:
    """Tokens of a segment: a power of two by the recent tokens asked for, 512 to 4,096.

    Nothing else moves a border: not the target, which follows the conversation's length.
    """
    size = SMALLEST_SEGMENT
    while size * 2 <= min(recipe.keep_recent, LARGEST_SEGMENT):
        size *= 2
    return size


def closings(segments: int) -> list[int]:
    """How many of so many full segments to remember: the calmest number first, all last.

    A power of two: each time it moves the provider's cached prefix breaks once, so it moves
    when the conversation has doubled. Where that leaves too much, in quarters of it.
    """
    if segments <= 0:
        return [0]
    power = 1 << (segments.bit_length() - 1)
    step = max(1, power // 4)
    return [*range(power, segments, step), segments]


def memory_target(
    measurement: Measurement, protected_tokens: int, keep_recent: int, ratio: float
) -> int:
    """The size that compression reaches and holds while the conversation grows, tokens.

    What is protected, the recent tokens, the segments that are still whole (see
    ``closings``), memories made with a margin, and the frame of every message.
    """
    recipe = Recipe(Way.COMPRESS, 2 * keep_recent, keep_recent, ratio)
    size, weights = segment_tokens(recipe), list(measurement.message_tokens)
    standing = sum(measurement.by_role.get(role, 0) for role in STANDING_ROLES)
    if weights and weights[0] <= standing:
        weights[0] = 0  # in no segment, wherever such texts stand mostly
    behind = _behind(weights)
    ends, held = [0], 0
    for at, weight in enumerate(weights):
        held += weight
        if held >= size and behind[at + 1] >= keep_recent:
            ends.append(at + 1)
            held = 0
    old = behind[0] - behind[ends[closings(len(ends) - 1)[0]]]
    whole = max(0, measurement.prompt_tokens - protected_tokens - old)
    frames = FRAME_TOKENS * len(weights)
    return protected_tokens + whole + frames + int(MEMORY_MARGIN * old / ratio) + size


def recent_tokens(recipe: Recipe) -> int:
    """Newest tokens kept at full resolution: as asked, but at most half of the target."""
    return min(recipe.keep_recent, recipe.target_tokens // 2)


def protected(conversation: Conversation) -> frozenset[tuple[int, int]]:
    """(message, part) of every part that no memory may replace.

    System and developer messages; the last human turn and the last message; the last
    tool calls with their results; messages with reasoning; everything up to the newest
    cache mark or part we do not understand; and whatever is not text, or stands where
    nothing can be replaced.
    """
    messages = conversation.messages
    marked = newest_mark(messages)
    loop, calls = _last_calls(messages)
    whole = {conversation.last_human(), len(messages) - 1, *loop}
    frozen = set()
    for at, message in enumerate(messages):
        keep = (
            at in whole
            or message.role in STANDING_ROLES
            or any(part.kind is PartKind.REASONING for part in message.parts)
        )
        for number, part in enumerate(message.parts):
            cached = marked is not None and (at, number) <= marked
            fixed = part.path is None or part.kind not in REPLACEABLE or not part.text
            if keep or cached or fixed or (part.call_id is not None and part.call_id in calls):
                frozen.add((at, number))
    return frozenset(frozen)


def newest_mark(messages: Sequence[Message]) -> tuple[int, int] | None:
    """(message, part) of the newest cache break point or part we do not understand, or None.

    An unknown part may be a provider's own compaction of what stands before it.
    """
    newest = None
    for at, message in enumerate(messages):
        for number, part in enumerate(message.parts):
            if part.cache_mark or part.kind is PartKind.OPAQUE:
                newest = (at, number)
    return newest


def _last_calls(messages: Sequence[Message]) -> tuple[range, frozenset[str]]:
    """The messages of the last step that calls tools, and the ids of its calls.

    One wire writes the calls of a step as messages of their own, one after another.
    """
    last = next((at for at in range(len(messages) - 1, -1, -1) if _calls(messages[at])), None)
    if last is None:
        return range(0), frozenset()
    first = last
    while first and messages[first - 1].role == "assistant":
        first -= 1
    step = range(first, last + 1)
    ids = (part.call_id for at in step for part in _calls(messages[at]))
    return step, frozenset(one for one in ids if one is not None)


def _calls(message: Message) -> list[Part]:
    return [part for part in message.parts if part.kind is PartKind.TOOL_CALL]


def _segment_ends(messages: Sequence[Message], weights: Sequence[int], size: int) -> list[int]:
    """Where segments end (message numbers, excluded): at the first border once full."""
    ends: list[int] = []
    held = 0
    for at, weight in enumerate(weights):
        held += weight
        if held >= size and _is_border(messages, at + 1):
            ends.append(at + 1)
            held = 0
    return ends


def _is_border(messages: Sequence[Message], at: int) -> bool:
    """Whether message ``at`` starts a step of its own, so that no pair is cut in two.

    The end of the list is none: what comes next might belong to what is there.
    """
    if at >= len(messages):
        return False
    message, before = messages[at], messages[at - 1]
    return (
        message.role != "tool"
        and not any(part.kind is PartKind.TOOL_RESULT for part in message.parts)
        and not any(part.kind in _STEP_GOES_ON for part in before.parts)
    )


def _behind(weights: Sequence[int]) -> list[int]:
    """For each message number, how many tokens lie at or after it; 0 past the end."""
    behind = [0]
    for weight in reversed(weights):
        behind.append(behind[-1] + weight)
    behind.reverse()
    return behind


def _segment(
    conversation: Conversation,
    number: int,
    span: tuple[int, int],
    frozen: frozenset[tuple[int, int]],
) -> Segment:
    items = tuple(
        Item(at, part.path, part.text, conversation.messages[at].role, part.kind)
        for at in range(*span)
        for place, part in enumerate(conversation.messages[at].parts)
        if (at, place) not in frozen and part.path is not None
    )
    return Segment(number, span[0], span[1] - 1, items)
