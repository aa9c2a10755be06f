"""The last look before a fit is believed."""

from __future__ import annotations

import pytest

from compressor.checks import is_json, sound_edits
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.protect import OpenSpan
from compressor.recipe import Edit

PATH = ("messages", 1, "content")
TEXT = "keep head. MIDDLE. keep tail."
CONVERSATION = Conversation(
    (
        Message("system", (Part(PartKind.TEXT, "Be good.", ("messages", 0, "content")),)),
        Message("user", (Part(PartKind.TEXT, TEXT, PATH),)),
    )
)
SPAN = OpenSpan(1, 0, PATH, TEXT, 11, 18, 3, 0, asked=True)


@pytest.mark.parametrize(
    ("path", "text", "sound"),
    [
        (PATH, "keep head. M. keep tail.", True),
        (PATH, "keep head. keep tail.", False),
        (PATH, "head. M. keep tail.", False),
        (PATH, "keep head. M. keep", False),
        (PATH, "", False),
        (("messages", 0, "content"), "Be bad.", False),
        (("messages", 7, "content"), "new", False),
    ],
)
def test_only_the_open_part_of_a_known_text_may_change(
    path: tuple[str | int, ...],
    text: str,
    sound: bool,  # a table of cases
) -> None:
    """An edit outside of an open span, of a system text or of no text is refused."""
    assert sound_edits(CONVERSATION, (Edit(path, text),), (SPAN,)) is sound


def test_one_text_is_edited_once() -> None:
    """Two edits of one path are refused."""
    edit = Edit(PATH, "keep head. M. keep tail.")
    assert not sound_edits(CONVERSATION, (edit, edit), (SPAN,))


def test_json_must_stay_json() -> None:
    """A JSON text may not become something else, whichever way made the edit."""
    body = '{"a": [1, 2, 3]}'
    conversation = Conversation((Message("tool", (Part(PartKind.TOOL_RESULT, body, PATH),)),))
    span = OpenSpan(0, 0, PATH, body, 0, len(body), 9, 0, asked=False)
    for spans in ((span,), None):
        assert sound_edits(conversation, (Edit(PATH, '{"a": [1]}'),), spans)
        assert not sound_edits(conversation, (Edit(PATH, '{"a": [1'),), spans)


def test_scalars_and_text_are_not_documents() -> None:
    """Only one array or object counts as a JSON document."""
    assert [is_json(text) for text in ("[1]", " {} ", "1", '"x"', "[1] [2]", "[" * 99_999)] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
