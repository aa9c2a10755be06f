"""fit(): it keeps what is asked for, and breaks nothing, whatever comes in."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.checks import is_json
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.recipe import Fitted, Recipe, Way
from compressor.tokens import load_counter

COUNTER = load_counter("o200k_base")
KIT = Kit(COUNTER)
PATH = ("messages", 0, "content")
TOPICS = ["harbour", "bridge", "orchard", "library", "garden", "market", "tower", "mill"]
TOPICS += ["school", "chapel"]
MARK = re.compile(r" ?\[\.\.\. [\d]+ (?:lines \(\d+-\d+\)|characters) omitted \.\.\.\](?: |\n|$)")


def prose(paragraphs: int = 160) -> str:
    """Paragraphs about ten places, one of which has a secret."""
    out = []
    for number in range(paragraphs):
        place = TOPICS[number % 10]
        out.append(
            f"Paragraph {number} is about the {place}. Its keepers met in spring and talked of "
            f"the weather, the roof and the cost of timber, as keepers of a {place} will."
        )
    out[paragraphs // 2] = "The lighthouse was painted vermilion by Agatha Quill in 1887."
    return "\n\n".join(out)


def one(text: str) -> Conversation:
    return Conversation((Message("user", (Part(PartKind.TEXT, text, PATH),)),))


def run(conversation: Conversation, target: int, way: Way = Way.TRIM) -> Fitted:
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    recipe = Recipe(way, target, time_limit_ms=60_000, keep_recent=0)
    return fit(conversation, measured, recipe, KIT)


def test_a_trim_keeps_the_passage_that_is_asked_for() -> None:
    """The answer's passage and the question survive within the target."""
    fitted = run(one(prose() + "\n\nWho painted the lighthouse?"), 800)
    assert (fitted.way, fitted.refused) == (Way.TRIM, None)
    (edit,) = fitted.edits
    assert "vermilion by Agatha Quill" in edit.text
    assert edit.text.endswith("\n\nWho painted the lighthouse?")
    assert fitted.prompt_tokens <= 800


def test_the_size_reported_is_the_size_sent() -> None:
    """prompt_tokens is what measuring the edited prompt gives."""
    fitted = run(one(prose() + "\n\nWho painted the lighthouse?"), 800)
    sent = measure(one(fitted.edits[0].text), COUNTER, media_rule("openai_tiles"))
    assert fitted.prompt_tokens == sent.prompt_tokens


def test_cuts_and_what_is_kept_make_up_the_original() -> None:
    """Cuts name exactly the characters that are gone, with their hash and tokens."""
    text = prose() + "\n\nWho painted the lighthouse?"
    fitted = run(one(text), 800)
    kept, at = [], 0
    for cut in fitted.cuts:
        kept.append(text[at : cut.start])
        at = cut.end
        assert len(cut.sha256) == 64
        assert cut.tokens > 0
        assert 0 <= cut.score <= 1
    kept.append(text[at:])
    shown = [piece.strip() for piece in MARK.split(fitted.edits[0].text)]
    assert [piece for piece in shown if piece] == [piece.strip() for piece in kept if piece.strip()]


def test_gap_marks_tell_true_lines() -> None:
    """A mark names the lines of the original that it stands for."""
    text = prose() + "\n\nWho painted the lighthouse?"
    fitted = run(one(text), 800)
    lines = text.split("\n")
    for found in re.finditer(r"\[\.\.\. (\d+) lines \((\d+)-(\d+)\)", fitted.edits[0].text):
        many, first, last = map(int, found.groups())
        assert many == last - first + 1
        assert "\n".join(lines[first - 1 : last]) not in fitted.edits[0].text


def test_a_prompt_that_fits_is_left_alone() -> None:
    """Nothing is done, and nothing refused, below the target."""
    fitted = run(one("Why?"), 800)
    assert (fitted.way, fitted.edits, fitted.refused) == (Way.WHOLE, (), None)


def test_a_question_without_a_trace_in_the_document_is_refused() -> None:
    """When no word of the question says where to look, nothing is cut."""
    fitted = run(one(prose() + "\n\nWhat do you think of xylophones?"), 800)
    assert (fitted.refused, fitted.edits) == ("flat_scores", ())


def test_a_question_for_a_position_is_refused() -> None:
    """Words cannot find the previous sentence, and it is not counted, so nothing is cut."""
    fitted = run(one(prose() + "\n\nWhat is the previous sentence about?"), 800)
    assert fitted.refused == "flat_scores"


def test_a_place_that_can_be_counted_is_kept() -> None:
    """The third paragraph is found by counting and kept whatever its words are."""
    fitted = run(one(prose() + "\n\nWhat is the third paragraph about?"), 800)
    assert fitted.refused is None
    assert "Paragraph 2 is" in fitted.edits[0].text


def test_a_flat_ranking_widens_before_it_refuses() -> None:
    """With widen_to, a result above the target but within it is possible."""
    conversation = one(prose() + "\n\nWhat did the keepers of the chapel talk of?")
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    narrow = Recipe(Way.TRIM, 300, time_limit_ms=60_000)
    assert fit(conversation, measured, narrow, KIT).refused == "flat_scores"
    wide = fit(conversation, measured, replace(narrow, widen_to=4_000), KIT)
    assert wide.way is Way.TRIM
    assert 300 < wide.prompt_tokens <= 4_000


def test_too_little_time_gives_the_original() -> None:
    """A fit that runs out of time changes nothing."""
    conversation = one(prose() + "\n\nWho painted the lighthouse?")
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    fitted = fit(conversation, measured, Recipe(Way.TRIM, 800, time_limit_ms=0.0), KIT)
    assert (fitted.refused, fitted.edits) == ("time_limit", ())


class Broken:
    """A counter that fails."""

    name, exact = "broken", True

    def count(self, text: str) -> int:
        """Fails."""
        raise RuntimeError("no counter today")

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Fails."""
        raise RuntimeError("no counter today")


def test_an_exception_gives_the_original() -> None:
    """Whatever breaks inside, the prompt goes whole and no exception comes out."""
    conversation = one(prose() + "\n\nWho painted the lighthouse?")
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    fitted = fit(conversation, measured, Recipe(Way.TRIM, 800), Kit(Broken()))
    assert (fitted.refused, fitted.edits) == ("failed", ())


def test_json_stays_json_and_keeps_the_record_asked_for() -> None:
    """A trimmed JSON document is valid JSON with the asked record whole."""
    rows = [{"id": f"#W{n:05d}", "status": "shipped", "note": f"note {n} " * 6} for n in range(200)]
    body = json.dumps(rows, indent=2)
    fitted = run(one(body + "\n\nWhat is the status of order #W00123?"), 900)
    assert fitted.way is Way.TRIM
    document = fitted.edits[0].text.rsplit("\n\n", 1)[0]
    assert rows[123] in json.loads(document)


def test_lossless_is_enough_when_it_reaches_the_target() -> None:
    """A target that lossless reaches costs no content."""
    rows = [{"identifier": n, "status": "shipped", "quantity": n % 5} for n in range(200)]
    conversation = one(json.dumps(rows, indent=2) + "\n\nHow many were shipped?")
    before = measure(conversation, COUNTER, media_rule("openai_tiles")).prompt_tokens
    fitted = run(conversation, int(before * 0.6))
    assert fitted.way is Way.LOSSLESS
    assert fitted.prompt_tokens <= before * 0.6


def test_history_up_to_a_cache_mark_is_untouched() -> None:
    """Nothing before the newest cache mark is edited, whatever the target."""
    marked = Part(PartKind.TEXT, prose(), ("messages", 0, "content", 0), cache_mark=True)
    ask = Part(PartKind.TEXT, "Who painted the lighthouse?", ("messages", 1, "content"))
    conversation = Conversation((Message("user", (marked,)), Message("user", (ask,))))
    assert run(conversation, 500).edits == ()
    assert run(conversation, 500).refused == "protected"


def agent(results: Sequence[str], question: str) -> Conversation:
    """A tool loop: one human turn, then calls and results."""
    messages = [
        Message("system", (Part(PartKind.TEXT, "Be useful. " * 400, ("messages", 0, "content")),)),
        Message("user", (Part(PartKind.TEXT, question, ("messages", 1, "content")),)),
    ]
    for number, result in enumerate(results):
        at = len(messages)
        call = Part(PartKind.TOOL_CALL, 'read\n{"n": 1}', None, f"c{number}")
        given_back = Part(
            PartKind.TOOL_RESULT, result, ("messages", at + 1, "content"), f"c{number}"
        )
        messages += [Message("assistant", (call,)), Message("tool", (given_back,))]
    return Conversation(tuple(messages))


def test_the_newest_tool_results_are_protected() -> None:
    """Older results are trimmed; those of the last calls stay whole, as do the calls."""
    conversation = agent([prose(), prose()], "Who painted the lighthouse?")
    total = measure(conversation, COUNTER, media_rule("openai_tiles")).prompt_tokens
    fitted = run(conversation, int(total * 0.7))
    assert [edit.path for edit in fitted.edits] == [("messages", 3, "content")]


def document_of(kind: str, seed: int) -> str:
    """A document of some 1,000 to 3,000 tokens, odd in its own way."""
    rng = random.Random(seed)
    size = rng.randint(120, 260)
    if kind == "json":
        rows = [{"id": n, "place": rng.choice(TOPICS), "of": rng.random()} for n in range(size)]
        return json.dumps(rows, indent=rng.choice([None, 1]))
    if kind == "words":
        odd = [*TOPICS, "the", "of", "1887", "Agatha", "{", "}", "[", '"', "\n", "...", "omitted"]
        return " ".join(rng.choices(odd, k=5 * size))
    letters = 'abc é中\n\t.:{}[]"\\'
    return "\n".join("".join(rng.choices(letters, k=rng.randint(1, 40))) for _ in range(size))


@given(
    kind=st.sampled_from(["json", "words", "letters"]),
    seed=st.integers(0, 10_000),
    share=st.floats(0.2, 0.95),
    place=st.sampled_from(TOPICS),
)
@settings(max_examples=60, deadline=None)
def test_whatever_comes_in_nothing_breaks(kind: str, seed: int, share: float, place: str) -> None:
    """Deterministic, smaller, only known paths, the rest untouched, JSON stays JSON, kept text
    is the original's in order."""
    document = document_of(kind, seed)
    conversation = one(f"{document}\n\nWhat is said about the {place}?")
    text = conversation.messages[0].text
    total = measure(conversation, COUNTER, media_rule("openai_tiles")).prompt_tokens
    fitted = run(conversation, int(total * share))
    assert fitted == run(conversation, int(total * share))
    if fitted.refused or not fitted.edits:
        assert fitted.edits == ()
        return
    (edit,) = fitted.edits
    assert edit.path == PATH
    assert fitted.prompt_tokens < total
    assert edit.text.endswith(f"\n\nWhat is said about the {place}?")
    if is_json(document):
        assert is_json(edit.text.rsplit("\n\n", 1)[0])
    elif fitted.way is Way.TRIM:
        assert fitted.prompt_tokens <= total * share
        at = 0
        for piece in MARK.split(edit.text):
            at = text.find(piece.strip(), at)
            assert at >= 0


@pytest.mark.parametrize("way", [Way.LOSSLESS, Way.TRIM, Way.COMPRESS])
@pytest.mark.parametrize("seed", range(8))
def test_histories_keep_roles_pairs_and_system(way: Way, seed: int) -> None:
    """No edit ever touches a system message, a call, or a path that is not in the prompt."""
    results = [prose(40 + 30 * ((seed + n) % 4)) for n in range(2 + seed % 3)]
    conversation = agent(results, "Who painted the lighthouse?")
    total = measure(conversation, COUNTER, media_rule("openai_tiles")).prompt_tokens
    fitted = run(conversation, int(total * (0.2 + 0.1 * seed)), way)
    allowed = {
        part.path
        for message in conversation.messages
        for part in message.parts
        if message.role == "tool"
    }
    assert {edit.path for edit in fitted.edits} <= allowed
    assert fitted.prompt_tokens <= total


def test_memories_are_made_within_the_time_limit() -> None:
    """A fit that has no time for memories leaves the prompt whole."""
    turns = tuple(
        Message(
            "user" if at % 2 == 0 else "assistant",
            (Part(PartKind.TEXT, f"Turn {at}. {prose(60)}", ("messages", at, "content")),),
        )
        for at in range(41)
    )
    conversation = Conversation(turns)
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    recipe = Recipe(Way.COMPRESS, measured.prompt_tokens // 3, keep_recent=500, time_limit_ms=0.0)
    assert fit(conversation, measured, recipe, KIT).refused == "time_limit"
