"""What is remembered between the requests of a conversation."""

from __future__ import annotations

from dataclasses import astuple, fields

import pytest

from compressor.conversation import Conversation, Message, Part, PartKind
from gateway.sessions import DAY_MS, Sessions, Turn, in_holdout, session_key

AT = 1_780_272_000_000


def talk(*texts: str) -> Conversation:
    """A system text, then user and assistant in turn."""
    roles = ["system", *["user", "assistant"] * len(texts)]
    return Conversation(
        tuple(
            Message(role, (Part(PartKind.TEXT, text),))
            for role, text in zip(roles, texts, strict=False)
        )
    )


def test_turns_of_one_conversation_share_a_key() -> None:
    """System prompt and first question name a conversation, however it goes on."""
    first = session_key("k", None, talk("be kind", "hello"), AT)
    later = session_key("k", None, talk("be kind", "hello", "hi", "and now?"), AT + 60_000)
    assert first == later
    assert len(first) == 16


def test_another_key_question_or_day_is_another_conversation() -> None:
    """What differs in key, first question or UTC day never shares memory."""
    base = session_key("k", None, talk("be kind", "hello"), AT)
    others = {
        session_key("j", None, talk("be kind", "hello"), AT),
        session_key("k", None, talk("be kind", "bye"), AT),
        session_key("k", None, talk("be kind", "hello"), AT + DAY_MS),
        session_key("k", "named", talk("be kind", "hello"), AT),
    }
    assert base not in others
    assert len(others) == 4


def test_a_named_session_is_its_name_under_its_key() -> None:
    """The client's own id wins over the text, and is apart for each key."""
    assert session_key("k", "s", talk("a", "b"), AT) == session_key(
        "k", "s", talk("c"), AT + DAY_MS
    )
    assert session_key("k", "s", talk("a"), AT) != session_key("j", "s", talk("a"), AT)


def test_half_a_surrogate_pair_names_a_conversation_too() -> None:
    """Text that no encoding holds is no reason to fail."""
    assert session_key("k", None, talk("a", "\ud800"), AT)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
def test_the_holdout_is_the_share_it_says(share: float) -> None:
    """Over many sessions the held-out share is within four standard errors."""
    count = 20_000
    held = sum(in_holdout(f"{n:016x}", share) for n in range(count))
    assert abs(held / count - share) < 4 * (share * (1 - share) / count) ** 0.5


def test_the_holdout_is_the_same_each_time_and_grows_with_its_share() -> None:
    """A session held out at 5% is held out at 50%, today and tomorrow."""
    names = [f"{n:016x}" for n in range(3000)]
    small = {name for name in names if in_holdout(name, 0.05)}
    assert small == {name for name in names if in_holdout(name, 0.05)}
    assert small < {name for name in names if in_holdout(name, 0.5)}
    assert not any(in_holdout(name, 0) for name in names)
    assert all(in_holdout(name, 1.0) for name in names)


def test_the_oldest_conversation_is_forgotten_first() -> None:
    """Memory is bounded; a conversation that goes on stays."""
    sessions = Sessions(limit=2)
    turn = Turn("m", 10, AT)
    for name in ("a", "b", "a", "c"):
        sessions.remember(name, turn)
    assert sessions.last("b") is None
    assert (sessions.last("a"), sessions.last("c")) == (turn, turn)


def test_other_tools_are_another_conversation() -> None:
    """Tools stand before the system text: with others, nothing is shared."""
    plain = talk("be kind", "hello")
    tooled = Conversation(plain.messages, ('{"name": "search"}',))
    assert session_key("k", None, plain, AT) != session_key("k", None, tooled, AT)


def test_an_older_turn_does_not_replace_a_newer_one() -> None:
    """News of another process that comes late is not believed over what is known."""
    sessions = Sessions()
    sessions.remember("a", Turn("new", 10, AT + 5))
    sessions.remember("a", Turn("old", 10, AT))
    last = sessions.last("a")
    assert last is not None
    assert last.model == "new"


def test_a_prompt_names_its_turn() -> None:
    """Conversations that began alike are told apart by the very prompts they sent."""
    sessions = Sessions(limit=2)
    for name in (1, 2, 3):
        sessions.keep(name, Turn(f"m{name}", 10, AT))
    assert sessions.turn(1) is None
    third = sessions.turn(3)
    assert third is not None
    assert third.model == "m3"


def test_a_turn_is_its_row() -> None:
    """What an event carries of a turn is every field of it, in order."""
    turn = Turn("m", 3, 5, "small", "trim", 2, 1, "mid", "r", "t", 0.5)
    assert Turn(*turn.row()) == turn
    assert turn.row() == astuple(turn)


def test_a_turn_travels_whole() -> None:
    """What another process hears of a turn is all of it, whatever fields it has."""
    values = {field.name: f"<{field.name}>" for field in fields(Turn)}
    turn = Turn(**values)  # type: ignore[arg-type]  # any value shows whether it travels
    assert Turn(*turn.row()) == turn
