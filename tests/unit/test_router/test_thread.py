"""What a conversation's past says."""

from __future__ import annotations

import pytest

from compressor.conversation import Conversation, Message, Part, PartKind
from router.thread import holds_work, last_answers, refers_back, request_number


def said(role: str, text: str, kind: PartKind = PartKind.TEXT) -> Message:
    return Message(role, (Part(kind, text),))


@pytest.mark.parametrize(
    "question",
    ["commit it", "Now add tests for that", "and step 3?", "why does the function fail?", "go on"],
)
def test_turns_that_build_on_what_was_said(question: str) -> None:
    """A turn that points at earlier work refers back."""
    assert refers_back(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "Good morning",
        "",
        "Hello again! Who was the first person to walk on the Moon, and in which year was that?",
        "Which of the two novels that won the prize was published first, and who wrote them both?",
    ],
)
def test_turns_that_stand_alone(question: str) -> None:
    """A turn with its own subject refers to nothing."""
    assert not refers_back(question)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Here:\n```python\nprint(1)\n```", True),
        ("1. Back up.\n2. Migrate.\n3. Verify.", True),
        ("Paris is the capital of France.", False),
        ("1. One thing only.", False),
    ],
)
def test_code_and_plans_are_work(text: str, expected: bool) -> None:
    """Code and plans in steps are what later turns build on; a plain answer is not."""
    assert holds_work(said("assistant", text)) is expected


def test_a_tool_call_is_work() -> None:
    """What was done with tools is built on, too."""
    assert holds_work(said("assistant", "write_file\n{}", PartKind.TOOL_CALL))


def test_the_last_answers_are_all_of_the_last_turn() -> None:
    """A loop of tools has several answers; they end at the human turn before."""
    talk = Conversation(
        (
            said("user", "one"),
            said("assistant", "first"),
            said("user", "two"),
            said("assistant", "call", PartKind.TOOL_CALL),
            said("tool", "result", PartKind.TOOL_RESULT),
            said("assistant", "second"),
            said("user", "three"),
        )
    )
    assert [m.text for m in last_answers(talk)] == ["call", "second"]
    assert request_number(talk) == 4
    assert last_answers(Conversation((said("user", "one"),))) == ()
    assert request_number(Conversation(())) == 1
