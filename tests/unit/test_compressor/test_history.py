"""History is cut once and stays cut, and what is protected is in no segment."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.history import (
    closings,
    memory_target,
    past,
    protected,
    recent_tokens,
    segment_tokens,
)
from compressor.measure import Measurement
from compressor.recipe import Recipe, Way


def text(role: str, body: str, at: int, **more: bool) -> Message:
    return Message(role, (Part(PartKind.TEXT, body, ("messages", at, "content"), **more),))


def measured(sizes: list[int]) -> Measurement:
    return Measurement(
        prompt_tokens=sum(sizes),
        message_tokens=tuple(sizes),
        by_role={},
        tools_tokens=0,
        media_tokens=0,
        tokenizer="test",
        exact=True,
        segments=len(sizes),
        question="",
        document_tokens=0,
    )


def recipe(target: int = 8_000, keep_recent: int = 1_000, ratio: float = 10.0) -> Recipe:
    return Recipe(Way.COMPRESS, target, keep_recent, ratio)


def chat(sizes: list[int]) -> tuple[Conversation, Measurement]:
    roles = ["system", *("user" if at % 2 else "assistant" for at in range(1, len(sizes)))]
    messages = tuple(text(role, f"words of {at}", at) for at, role in enumerate(roles))
    return Conversation(messages), measured(sizes)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 900), min_size=3, max_size=60))
def test_a_growing_history_keeps_its_segments(sizes: list[int]) -> None:
    """Each closed segment of a turn is, unchanged, a segment of every later turn."""
    before: tuple[object, ...] = ()
    for length in range(3, len(sizes) + 1):
        conversation, measurement = chat(sizes[:length])
        closed = past(conversation, measurement, recipe()).closed
        assert closed[: len(before)] == before
        before = closed


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(5, 900), min_size=3, max_size=60))
def test_recent_tokens_are_in_no_segment(sizes: list[int]) -> None:
    """At least ``keep_recent`` tokens lie behind whatever may become a memory."""
    conversation, measurement = chat(sizes)
    history = past(conversation, measurement, recipe())
    for segment in (*history.closed, *history.open_):
        assert sum(sizes[segment.last + 1 :]) >= 1_000
        assert all(item.role != "system" for item in segment.items)


def test_a_segment_never_ends_between_a_call_and_its_result() -> None:
    """Tool results are in the segment of the call that they answer."""
    messages = [text("user", "go", 0)]
    for at in range(1, 40, 2):
        call = Part(PartKind.TOOL_CALL, "f\n{}", None, f"c{at}")
        said = Part(PartKind.TEXT, "look", ("messages", at, "content"))
        result = Part(PartKind.TOOL_RESULT, "found", ("messages", at + 1, "content"), f"c{at}")
        messages += [Message("assistant", (said, call)), Message("tool", (result,))]
    history = past(Conversation(tuple(messages)), measured([300] * len(messages)), recipe())
    assert history.closed
    for segment in (*history.closed, *history.open_):
        assert messages[segment.last + 1].role != "tool"


def test_a_step_of_several_messages_is_one_step() -> None:
    """Parallel calls written as messages of their own share a segment, and are the last calls."""
    messages = [text("user", "go", 0)]
    for at in range(1, 60, 4):
        ids = (f"c{at}", f"d{at}")
        messages += [Message("assistant", (Part(PartKind.TOOL_CALL, "f", None, i),)) for i in ids]
        messages += [
            Message("tool", (Part(PartKind.TOOL_RESULT, "x", ("input", at + 2 + n, "output"), i),))
            for n, i in enumerate(ids)
        ]
    conversation = Conversation(tuple(messages))
    history = past(conversation, measured([300] * len(messages)), recipe())
    assert history.closed
    for segment in (*history.closed, *history.open_):
        assert segment.last % 4 == 0  # behind the second result
    newest = len(messages) - 1
    assert {(newest - 1, 0), (newest, 0)} <= protected(conversation)


def test_what_is_protected() -> None:
    """System text, marked prefixes, reasoning, the last calls, the last turn: all of it."""
    messages = (
        text("system", "s", 0),
        text("user", "marked", 1, cache_mark=True),
        text("user", "free", 2),
        Message(
            "assistant",
            (Part(PartKind.REASONING, "r"), Part(PartKind.TEXT, "t", ("messages", 3, 1))),
        ),
        text("user", "free too", 4),
        Message("assistant", (Part(PartKind.TOOL_CALL, "f\n{}", ("messages", 5), "c"),)),
        Message("tool", (Part(PartKind.TOOL_RESULT, "x", ("messages", 6, "content"), "c"),)),
        text("user", "question", 7),
        text("assistant", "begun", 8),
    )
    everything = {(at, n) for at, message in enumerate(messages) for n in range(len(message.parts))}
    assert everything - protected(Conversation(messages)) == {(2, 0), (4, 0)}


def test_nothing_before_a_part_we_do_not_understand_is_touched() -> None:
    """An unknown part may be a compaction of all before it."""
    messages = (
        text("user", "old", 0),
        Message("assistant", (Part(PartKind.OPAQUE),)),
        text("user", "new", 2),
        text("user", "question", 3),
    )
    assert (0, 0) in protected(Conversation(messages))
    assert (2, 0) not in protected(Conversation(messages))


def test_media_and_texts_without_a_place_are_protected() -> None:
    """What cannot be replaced is never planned to be."""
    image = Part(PartKind.IMAGE, "", ("messages", 0, "content", 0))
    placeless = Part(PartKind.TEXT, "text", None)
    messages = (Message("user", (image, placeless)), text("user", "q", 1))
    assert {(0, 0), (0, 1)} <= protected(Conversation(messages))


def test_segments_follow_the_recent_tokens_alone() -> None:
    """A power of two, 512 to 4,096; no target moves a border."""
    assert {segment_tokens(recipe(target, 4_096)) for target in (500, 8_000, 10**6)} == {4_096}
    assert segment_tokens(recipe(8_000, 1_000)) == 512
    assert segment_tokens(recipe(8_000, 100)) == 512
    assert segment_tokens(recipe(8_000, 50_000)) == 4_096
    assert recent_tokens(recipe(4_000, 4_096)) == 2_000


def test_closings_move_when_the_past_has_doubled() -> None:
    """The calmest number is a power of two; where that is too little, quarters of it follow."""
    assert closings(0) == [0]
    assert [closings(count)[0] for count in range(1, 18)] == [1, 2, 2, *[4] * 4, *[8] * 8, 16, 16]
    assert closings(11) == [8, 10, 11]
    assert closings(31) == [16, 20, 24, 28, 31]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(100, 900), min_size=20, max_size=120))
def test_a_memory_target_has_room_for_what_stays_whole(sizes: list[int]) -> None:
    """The target never asks for more closings than the calmest number."""
    conversation, measurement = chat(sizes)
    measurement = replace(measurement, by_role={"system": sizes[0]})
    target = memory_target(measurement, sizes[0] + sizes[-1], 1_000, 10.0)
    history = past(conversation, measurement, recipe(target))
    count = closings(len(history.closed))[0]
    whole = sum(sizes[history.closed[count - 1].last + 1 :]) if count else sum(sizes)
    assert whole <= target
