"""What a memory left out comes back at the end when the question needs it, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.compress import compress
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.expand import ROOM_TOKENS
from compressor.kit import Kit
from compressor.measure import Measurement, measure
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.recipe import Fitted, Recipe, Way
from compressor.tokens import load_counter

COUNTER = load_counter("o200k_base")
RECIPE = Recipe(Way.COMPRESS, 4_000, keep_recent=1_000)
FACT = "the spare boathouse padlock is hanging behind a blue enamel jug"
TOPICS = ("harbour", "invoice", "telescope", "orchard", "railway", "library", "glacier", "bakery")


def said(turn: int) -> str:
    topic = TOPICS[turn % len(TOPICS)]
    lines = [
        f"The {topic} report number {turn * 37 + at} was read aloud by clerk {at} of {topic}s."
        for at in range(14)
    ]
    if turn == 3:
        lines.insert(9, f"By the way, {FACT}.")
    return " ".join(lines)


def talk(turns: int, question: str) -> Conversation:
    messages = []
    for turn in range(turns):
        part = Part(PartKind.TEXT, said(turn), ("messages", turn, "content"))
        messages.append(Message("user" if turn % 2 == 0 else "assistant", (part,)))
    part = Part(PartKind.TEXT, question, ("messages", turns, "content"))
    return Conversation((*messages, Message("user", (part,))))


def run(
    conversation: Conversation, kit: Kit, recipe: Recipe = RECIPE
) -> tuple[Measurement, Fitted]:
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    return measured, compress(conversation, measured, recipe, kit)


ASKS = "Where does the spare boathouse padlock hang?"


def test_what_was_left_out_comes_back_behind_the_question() -> None:
    """The passage stands once more, marked, at the end; the question is before it, whole."""
    conversation = talk(60, ASKS)
    measured, fitted = run(conversation, Kit(COUNTER))
    texts = {edit.path: edit.text for edit in fitted.edits}
    memory = texts[("messages", 3, "content")]
    assert FACT not in memory, "the memory kept it, so that there is nothing to bring back"
    newest = texts[("messages", 60, "content")]
    assert FACT in newest
    assert newest.startswith(ASKS + "\n\n[Earlier in this conversation, message 4: ")
    assert newest.endswith("]")
    assert fitted.prompt_tokens < measured.prompt_tokens


def test_another_question_brings_nothing_back_and_the_prefix_is_the_same() -> None:
    """The memories do not depend on the question, so that what is sent before it is stable."""
    _, asked = run(talk(60, ASKS), Kit(COUNTER))
    _, other = run(talk(60, "Thank you, and how are you today?"), Kit(COUNTER))
    assert not any(edit.path == ("messages", 60, "content") for edit in other.edits)
    assert asked.edits[:-1] == other.edits


def test_what_comes_back_is_bounded() -> None:
    """A question that matches everything brings back no more than its room."""
    question = "What was the report number read aloud by the clerk of the harbours?"
    measured, with_it = run(talk(80, question), Kit(COUNTER))
    newest = [e.text for e in with_it.edits if e.path == ("messages", 80, "content")]
    for text in newest:
        assert COUNTER.count(text) <= ROOM_TOKENS + COUNTER.count(question) + 40
    assert with_it.prompt_tokens <= max(RECIPE.target_tokens, 0)
    assert with_it.prompt_tokens < measured.prompt_tokens


@pytest.mark.parametrize("session", ["s1", ""], ids=["named", "unnamed"])
def test_a_history_that_is_no_longer_sent_is_remembered_for_its_session(session: str) -> None:
    """A client that cut its own history gets the passage back, within its session and team."""
    store = MemoryStore(lambda: 0.0)
    kit = Kit(COUNTER, memory=store.for_team("a"), session=session)
    run(talk(60, "Go on."), kit)
    late = talk(60, ASKS)
    cut = Conversation(late.messages[8:])  # the fact's message is gone
    _, fitted = run(cut, kit)
    newest = [e.text for e in fitted.edits if FACT in e.text]
    assert bool(newest) == bool(session)
    for others in (
        replace(kit, session="s2"),
        replace(kit, memory=store.for_team("b")),
    ):
        _, fitted = run(cut, others)
        assert not any(FACT in edit.text for edit in fitted.edits)


def test_what_is_kept_of_a_session_is_bounded() -> None:
    """A long session keeps some hundred thousand characters of what it dropped, no more."""
    store = MemoryStore(lambda: 0.0)
    kit = Kit(COUNTER, memory=store.for_team("a"), session="s")
    for turns in range(60, 120, 20):
        run(talk(turns, "Go on."), kit)
    held = store.held_bytes
    assert held < 2_000_000
