"""Look-ups are recognised, and nothing wider is taken for one."""

from __future__ import annotations

import pytest

from compressor.measure import Measurement
from router.need import NeedKind, classify
from router.plan import RequestFacts

FACTS = RequestFacts("auto")
SURE = 0.7


def measured(total: int, document: int) -> Measurement:
    return Measurement(
        prompt_tokens=total,
        message_tokens=(total,),
        by_role={"user": total},
        tools_tokens=0,
        media_tokens=0,
        tokenizer="o200k_base",
        exact=True,
        segments=1,
        question="",
        document_tokens=document,
    )


DOCUMENT = measured(9_000, 8_900)
PLAIN = measured(50, 0)


@pytest.mark.parametrize(
    "question",
    [
        "When was invoice INV-2291 paid?",
        "Who signed the lease for the warehouse?",
        "What is the notice period in clause 14.2?",
        'Extract the value of the key "retry_after_s" in the JSON.',
        "Which port does the metrics server listen on?",
        "How long is the warranty?",
        "Did test_admin_login pass or fail?",
        "What did the reviewer answer to \"should we translate all of it?\"",
        "What is the serial number of the pump?",
        "Who owns property in France?",
        "You are a careful clerk. Use the contract above. When does the lease end?",
        "Answer from the document only, in one line: what is the deposit?",
        "In the output of `cd /a && make -j 4 all; ls build/bin`, which line mentions cache?",
    ],
)  # fmt: skip
def test_a_question_for_one_place_is_a_sure_look_up(question: str) -> None:
    """Questions of who, when, which value are look-ups with confidence >= 0.7."""
    need = classify(question, FACTS, DOCUMENT)
    assert need.kind is NeedKind.LOOKUP
    assert need.confidence >= SURE


@pytest.mark.parametrize(
    "question",
    [
        "Summarise the meeting.",
        "How many invoices were paid late?",
        "What are the main differences between the two contracts?",
        "List every deadline in the report.",
        "Translate the following text into German.",
        "Rewrite this more politely.",
        "What did the group think about the budget?",
        "What is the plot of the story?",
        "What is the third topic we discussed?",
        "Fix the bug in this function.",
        "Was soll ich damit machen",
        "",
        "Who is Arth, and what are his characteristics?",
        "What is the number of late invoices?",
        "You are a careful clerk. Summarise the contract. When does the lease end?",
    ],
)
def test_a_wider_reading_is_never_a_sure_look_up(question: str) -> None:
    """Whatever needs many places, every word, or is not understood stays whole."""
    need = classify(question, FACTS, DOCUMENT)
    assert not (need.kind is NeedKind.LOOKUP and need.confidence >= SURE)


@pytest.mark.parametrize("opening", ["And ", "So ", "Ok, and "])
def test_an_opening_word_changes_no_reading(opening: str) -> None:
    """As in "And what is ...?" goes on from before, while "who and what else" asks for more."""
    question = opening + "what is the supplier of pump 4711?"
    need = classify(question, RequestFacts("auto", human_turns=2), DOCUMENT)
    assert need.kind is NeedKind.LOOKUP
    assert need.confidence >= SURE
    both = opening + "who is pump 4711's supplier and what else did they deliver?"
    assert classify(both, FACTS, DOCUMENT).kind is NeedKind.SYNTHESIS


def test_transforms_and_syntheses_are_told_apart() -> None:
    """Working on every word and reading many places are different needs."""
    assert classify("Translate this into French.", FACTS, DOCUMENT).kind is NeedKind.TRANSFORM
    assert classify("Compare the two offers.", FACTS, DOCUMENT).kind is NeedKind.SYNTHESIS


def test_identifiers_are_noticed() -> None:
    """Codes, quotations and paths make a literal look-up; plain words do not."""
    assert classify("What is the price of item 4806644905?", FACTS, DOCUMENT).identifiers
    assert classify('Where is "right of way" defined?', FACTS, DOCUMENT).identifiers
    assert not classify("who is left-handed?", FACTS, DOCUMENT).identifiers


def test_small_talk_and_follow_ups_are_chat() -> None:
    """Greetings, thanks and going-on need the last turns, not a document."""
    assert classify("good morning", FACTS, PLAIN).kind is NeedKind.CHAT
    assert classify("thanks, go ahead", FACTS, PLAIN).kind is NeedKind.CHAT
    followed = RequestFacts("auto", human_turns=4)
    assert classify("now the second one instead", followed, PLAIN).kind is NeedKind.CHAT


def test_a_very_long_instruction_takes_no_longer_than_its_ends() -> None:
    """Only head and tail are read: a wide cue in either end decides."""
    text = "Summarise everything. " + "x " * 200_000 + "When was it?"
    assert classify(text, FACTS, DOCUMENT).kind is NeedKind.SYNTHESIS
