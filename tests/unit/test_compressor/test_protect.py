"""What may not be touched."""

from __future__ import annotations

from compressor.conversation import Conversation, Media, Message, Part, PartKind
from compressor.protect import open_spans, pending_arguments
from compressor.tokens import load_counter

COUNTER = load_counter("o200k_base")
LONG = "\n\n".join(f"Paragraph {n} tells of the harbour and of its ships." for n in range(120))


def text(role: str, words: str, at: int, *, kind: PartKind = PartKind.TEXT) -> Message:
    return Message(role, (Part(kind, words, ("messages", at, "content"), f"c{at}"),))


def opened(*messages: Message, keep_recent: int = 0) -> list[tuple[int, int]]:
    spans = open_spans(Conversation(messages), COUNTER, keep_recent)
    return [(span.message, span.part) for span in spans]


def test_old_long_texts_are_open() -> None:
    """Long texts of earlier turns are open, the small ones and the question are not."""
    asked = text("user", "Why?", 3)
    assert opened(
        text("user", LONG, 0), text("assistant", LONG, 1), text("user", "Hm.", 2), asked
    ) == [
        (0, 0),
        (1, 0),
    ]


def test_system_and_developer_are_never_open() -> None:
    """However long, instructions of the operator stay."""
    assert (
        opened(text("system", LONG, 0), text("developer", LONG, 1), text("user", "Why?", 2)) == []
    )


def test_the_newest_history_is_kept() -> None:
    """Within keep_recent tokens of the newest, nothing is open; beyond, it is."""
    messages = (text("user", LONG, 0), text("assistant", LONG, 1), text("user", "Why?", 2))
    assert opened(*messages, keep_recent=100) == [(0, 0)]
    assert opened(*messages, keep_recent=100_000) == []


def test_only_the_document_of_the_last_turn_is_open() -> None:
    """Of a document with a question, the document is open and the question is not."""
    words = f"{LONG}\n\nWho owns the ships?"
    (span,) = open_spans(Conversation((text("user", words, 0),)), COUNTER, 0)
    assert span.asked
    assert span.body == LONG


def test_media_reasoning_and_calls_are_never_open() -> None:
    """Parts that are no plain text are not open, whatever text they carry."""
    parts = tuple(
        Part(kind, LONG, ("messages", 0, n), "c", media=Media())
        for n, kind in enumerate(PartKind)
        if kind not in (PartKind.TEXT, PartKind.TOOL_RESULT, PartKind.OPAQUE)
    )
    assert opened(Message("assistant", parts), text("user", "Why?", 1)) == []


def test_a_part_without_a_path_is_not_open() -> None:
    """What cannot be replaced is not offered."""
    assert opened(Message("user", (Part(PartKind.TEXT, LONG),)), text("user", "Why?", 1)) == []


def test_an_unknown_part_freezes_what_stands_before_it() -> None:
    """Nothing before a part that we do not understand is open."""
    unknown = Message("assistant", (Part(PartKind.OPAQUE),))
    assert opened(text("user", LONG, 0), unknown, text("user", LONG, 2), text("user", "?", 3)) == [
        (2, 0)
    ]


def test_results_of_parallel_calls_are_kept_however_they_are_written() -> None:
    """A step whose calls are messages of their own is one step; an older step's is open."""

    def call(name: str) -> Message:
        return Message("assistant", (Part(PartKind.TOOL_CALL, "look\n{}", None, name),))

    def result(name: str, at: int) -> Message:
        place = ("input", at, "output")
        return Message("tool", (Part(PartKind.TOOL_RESULT, LONG, place, name),))

    old = (text("user", "Go.", 0), call("c0"), result("c0", 2))
    step = (call("c1"), call("c2"), result("c1", 5), result("c2", 6))
    assert opened(*old, *step) == [(2, 0)]


def test_the_arguments_of_pending_calls_are_part_of_the_question() -> None:
    """What the newest calls ask for is known to the search."""
    call = Message("assistant", (Part(PartKind.TOOL_CALL, 'grep\n{"q": "tide"}', None, "c9"),))
    assert "tide" in pending_arguments(Conversation((text("user", "Find it", 0), call)))
