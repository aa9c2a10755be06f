"""What the simulated model says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compressor.conversation import Conversation, Message, Part, PartKind
from gateway.simulator_answer import answer, best_sentence, pieces
from gateway.simulator_wire import SimRequest, SimTool

FILLER = "The train left the station on time. Nobody waited on the platform. " * 40


def request(text: str, **more: object) -> SimRequest:
    """A request of one user message."""
    message = Message("user", (Part(PartKind.TEXT, text),))
    return SimRequest(model="m", conversation=Conversation((message,)), **more)  # type: ignore[arg-type]


def test_the_sentence_with_the_rarest_shared_words_is_quoted() -> None:
    """A common word shared by many sentences weighs less than a rare one."""
    text = FILLER + "The conductor hid the emerald under the train seat. " + FILLER
    assert best_sentence(text, "Where did the train conductor hide the emerald?") == (
        "The conductor hid the emerald under the train seat."
    )


def test_nothing_is_quoted_when_nothing_is_shared() -> None:
    """No word in common gives no sentence."""
    assert best_sentence(FILLER, "zzz qqq") is None
    assert best_sentence("", "train") is None


def test_a_very_long_line_is_quoted_around_the_asked_word() -> None:
    """A JSON object on one line is not quoted whole."""
    line = ", ".join(f'"key{i:04}": "value{i:04}"' for i in range(2_000))
    quoted = best_sentence("{" + line + "}", 'What is the value of "key1234"?')
    assert quoted is not None
    assert len(quoted) <= 400
    assert '"key1234": "value1234"' in quoted


def test_the_tool_whose_words_are_asked_for_is_called() -> None:
    """Of two tools, the one whose name and description the question shares is taken."""
    tools = (
        SimTool("list_flights", "Search flights between airports", {"type": "object"}),
        SimTool("cancel_order", "Cancel an order of the shop", {"type": "object"}),
    )
    for text, name in (
        ("Please cancel my order", "cancel_order"),
        ("Any flights?", "list_flights"),
    ):
        calls = answer(request(text, tools=tools), 0).calls
        assert [call.name for call in calls] == [name]


def test_code_is_answered_with_code() -> None:
    """A question for a function gets a fenced block."""
    assert "```python\ndef " in answer(request("Write a python function to add numbers"), 0).text


def test_the_length_of_answers_varies_with_the_prompt() -> None:
    """Different prompts get answers of different lengths."""
    lengths = {len(answer(request(f"Question number {i}?"), 0).text) for i in range(30)}
    assert len(lengths) > 5


@given(st.text(max_size=300))
def test_pieces_joined_are_the_text(text: str) -> None:
    """A stream loses no character, whatever the white space."""
    assert "".join(pieces(text)) == text
