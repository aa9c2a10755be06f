"""Which texts of a conversation's past may become memories, and when.

History is cut from its start into segments at turn borders. A segment, once closed,
never changes when the conversation grows, and it is remembered (whole, at once) when
``keep_recent`` tokens lie behind it. So a turn mostly appends to the bytes of the turn
before, which a provider's prompt cache needs, and the past is rewritten once in many
turns: when a segment has grown old, or when the whole past must shrink one step harder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.conversation import Conversation, Message, PartKind, Path
from compressor.measure import Measurement
from compressor.recipe import Recipe, Way

SMALLEST_SEGMENT = 512
LARGEST_SEGMENT = 32_768
FRAME_TOKENS = 5  # of a message whatever is left of it: role, separators, an ellipsis
MEMORY_MARGIN = 1.5  # memories end larger than the ratio says: short texts, JSON, code
REPLACEABLE = frozenset({PartKind.TEXT, PartKind.TOOL_RESULT})
STANDING_ROLES = frozenset({"system", "developer"})


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

    ``closed`` are segments old enough to be remembered; ``open_`` what else lies beyond
    the recent tokens, in smaller ones: used only where ``closed`` do not save enough.
    ``slack_tokens`` is how much the prompt may grow until the next segment closes.
    """

    closed: tuple[Segment, ...]
    open_: tuple[Segment, ...]
    slack_tokens: int


def past(conversation: Conversation, measurement: Measurement, recipe: Recipe) -> History:
    """The history of ``conversation``, cut the same way in every later turn of it."""
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
        if behind[end] < recent:
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
    return History(
        tuple(segment for segment in segments[: len(closed)] if segment.items),
        tuple(segment for segment in segments[len(closed) :] if segment.items),
        max(0, recent + size - behind[start]),
    )


def segment_tokens(recipe: Recipe) -> int:
    """Tokens of a segment: half of the room for history, a power of two, 512 to 32,768.

    Large, because closing one breaks a provider's cached prefix; a power of two, so that
    a slightly different target does not move every border.
    """
    room = max(0, recipe.target_tokens - recent_tokens(recipe)) // 2
    size = SMALLEST_SEGMENT
    while size * 2 <= min(room, LARGEST_SEGMENT):
        size *= 2
    return size


def memory_target(
    measurement: Measurement, protected_tokens: int, keep_recent: int, ratio: float
) -> int:
    """A target that compression reaches and can keep while the conversation grows, tokens.

    Room for what is protected, the recent tokens, a segment that is still open, memories
    made with a margin, and the frame of every message. A power of two (or one and a half
    of one), so that it stays the same for many turns and with it every byte of the past.
    """
    old = max(0, measurement.prompt_tokens - protected_tokens - keep_recent)
    frames = FRAME_TOKENS * len(measurement.message_tokens)
    fixed = protected_tokens + keep_recent + frames + int(MEMORY_MARGIN * old / ratio)
    power = SMALLEST_SEGMENT
    while True:
        for target in (power, power * 3 // 2):
            room = target - fixed
            recipe = Recipe(Way.COMPRESS, target, keep_recent, ratio)
            if room >= segment_tokens(recipe):
                return target
        power *= 2


def recent_tokens(recipe: Recipe) -> int:
    """Newest tokens kept at full resolution: as asked, but at most half of the target."""
    return min(recipe.keep_recent, recipe.target_tokens // 2)


def ladder(ratio: float) -> tuple[float, ...]:
    """The compression ratios to try, mildest first, ``ratio`` (> 1) last.

    Few steps, far apart: each step that a growing history climbs rewrites its past once.
    """
    steps = [2.0]
    while steps[-1] * 2 < ratio:
        steps.append(steps[-1] * 2)
    return (*(step for step in steps if step < ratio), ratio)


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
    whole = {conversation.last_human(), len(messages) - 1, loop}
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


def _last_calls(messages: Sequence[Message]) -> tuple[int | None, frozenset[str]]:
    """The last message that calls tools, and the ids of its calls."""
    for at in range(len(messages) - 1, -1, -1):
        calls = [part for part in messages[at].parts if part.kind is PartKind.TOOL_CALL]
        if calls:
            return at, frozenset(part.call_id for part in calls if part.call_id is not None)
    return None, frozenset()


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
    message = messages[at]
    return message.role != "tool" and not any(
        part.kind is PartKind.TOOL_RESULT for part in message.parts
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
