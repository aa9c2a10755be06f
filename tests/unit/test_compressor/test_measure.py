"""Measuring: framing, roles, tools, media, and what a turn asks."""

from __future__ import annotations

import json
import time

from compressor.conversation import Conversation, Media, Message, Part, PartKind
from compressor.measure import measure
from compressor.media import media_rule
from compressor.tokens import load_counter

RULE = media_rule("openai_tiles")


def text(role: str, words: str, name: str | None = None) -> Message:
    return Message(role, (Part(PartKind.TEXT, words, ("messages", 0, "content")),), name)


def test_framing_is_three_a_message_one_a_name_and_three_to_prime() -> None:
    """A prompt is its texts and roles plus OpenAI's published framing."""
    counter = load_counter("o200k_base")
    conversation = Conversation((text("system", "Be brief."), text("user", "Hello there", "ann")))
    words = sum(counter.count_many(["system", "Be brief.", "user", "Hello there", "ann"]))
    measured = measure(conversation, counter, RULE)
    assert measured.prompt_tokens == words + 2 * 3 + 1 + 3
    assert sum(measured.message_tokens) == measured.prompt_tokens - 3
    assert measured.by_role == dict(zip(("system", "user"), measured.message_tokens, strict=True))
    assert measured.exact


def test_the_cookbook_example_of_tools() -> None:
    """Tools cost what OpenAI's cookbook measured for its weather example (o200k: 101)."""
    tool = {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "The city and state, e.g. San Francisco, CA",
                    },
                    "unit": {
                        "type": "string",
                        "description": "The unit of temperature to return",
                        "enum": ["celsius", "fahrenheit"],
                    },
                },
                "required": ["location"],
            },
        },
    }
    conversation = Conversation(
        (
            text(
                "system",
                "You are a helpful assistant that can answer to questions about the weather.",
            ),
            text("user", "What's the weather like in San Francisco?"),
        ),
        (json.dumps(tool),),
    )
    assert measure(conversation, load_counter("o200k_base"), RULE).prompt_tokens == 101


def test_a_tool_that_is_no_schema_still_counts() -> None:
    """An unknown kind of tool counts as its text."""
    conversation = Conversation((text("user", "hi"),), ('{"type": "web_search"}', "not json"))
    assert measure(conversation, load_counter("o200k_base"), RULE).tools_tokens > 12


def test_media_never_count_as_text() -> None:
    """An image costs by its size, and one of unknown size makes the count inexact."""
    known = Part(PartKind.IMAGE, "x" * 9_000, media=Media(512, 512))
    unknown = Part(PartKind.IMAGE)
    counter = load_counter("o200k_base")
    measured = measure(Conversation((Message("user", (known,)),)), counter, RULE)
    assert (measured.media_tokens, measured.exact) == (255, True)
    assert measured.prompt_tokens < 300
    assert not measure(Conversation((Message("user", (unknown,)),)), counter, RULE).exact


def test_a_short_turn_is_all_question() -> None:
    """A short last turn is the question, and nothing of it is a document."""
    measured = measure(
        Conversation((text("user", "Old."), text("user", "Why is the sky blue?"))),
        load_counter("o200k_base"),
        RULE,
    )
    assert (measured.question, measured.document_tokens) == ("Why is the sky blue?", 0)


def test_a_long_turn_is_document_and_question() -> None:
    """The document of a long turn is counted apart from its question."""
    document = "\n\n".join(f"Paragraph {n} tells of the harbour and its ships." for n in range(200))
    measured = measure(
        Conversation((text("user", document + "\n\nWho owns the ships?"),)),
        load_counter("o200k_base"),
        RULE,
    )
    assert measured.question == "Who owns the ships?"
    assert measured.document_tokens > 0.95 * measured.prompt_tokens
    assert measured.segments >= 200


def test_without_a_human_turn_there_is_no_question() -> None:
    """A prompt of system and assistant alone asks nothing."""
    measured = measure(Conversation((text("system", "x"),)), load_counter("o200k_base"), RULE)
    assert measured.question == ""


def test_an_empty_conversation_is_only_priming() -> None:
    """A conversation without messages measures 3 tokens."""
    assert measure(Conversation(()), load_counter("o200k_base"), RULE).prompt_tokens == 3


def test_measuring_again_is_cheap() -> None:
    """8K tokens measured before take well under a few milliseconds."""
    counter = load_counter("o200k_base")
    turns = tuple(text("user", f"number {n} and so on, my friend. " * 120) for n in range(8))
    conversation = Conversation(turns)
    assert measure(conversation, counter, RULE).prompt_tokens > 8_000
    best = min(_timed(conversation, counter) for _ in range(20))
    assert best < 0.005


def _timed(conversation: Conversation, counter: object) -> float:
    started = time.perf_counter()
    measure(conversation, counter, RULE)  # type: ignore[arg-type]
    return time.perf_counter() - started
