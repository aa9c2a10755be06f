"""Compression reaches its target, keeps what is protected, and repeats itself byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.compress import compress, precompute
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.history import memory_target, protected
from compressor.kit import Kit
from compressor.measure import Measurement, measure
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.recipe import Fitted, Recipe, Way
from compressor.tokens import TokenCounter, load_counter

TOPICS = ("harbour", "invoice", "telescope", "orchard", "railway", "library", "glacier", "bakery")


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


def prose(seed: int, sentences: int) -> str:
    """Sentences that differ, some with figures."""
    topic = TOPICS[seed % len(TOPICS)]
    lines = []
    for at in range(sentences):
        number = seed * 37 + at * 11
        lines.append(
            f"The {topic} report number {number} was read aloud by the clerk."
            if at % 3 == 0
            else f"Nobody at the {topic} table had anything to add to that part {at}."
        )
    return " ".join(lines)


def part(body: str, at: int, kind: PartKind = PartKind.TEXT, call: str | None = None) -> Part:
    return Part(kind, body, ("messages", at, "content"), call)


def dialogue(turns: int, sentences: int = 12) -> list[Message]:
    messages = [Message("system", (part("Be brief.", 0),))]
    for turn in range(turns):
        role = "user" if turn % 2 == 0 else "assistant"
        messages.append(Message(role, (part(prose(turn, sentences), turn + 1),)))
    messages.append(Message("user", (part("Which report came first?", turns + 1),)))
    return messages


def agent(steps: int, sentences: int = 25) -> list[Message]:
    messages = [Message("user", (part("Find the cause and fix it.", 0),))]
    for step in range(steps):
        at = len(messages)
        call = Part(PartKind.TOOL_CALL, f'read\n{{"n": {step}}}', ("calls", step), f"c{step}")
        messages.append(Message("assistant", (part(f"Reading {step}.", at), call)))
        result = part(prose(step, sentences), at + 1, PartKind.TOOL_RESULT, f"c{step}")
        messages.append(Message("tool", (result,)))
    return messages


def sized(messages: Sequence[Message], counter: TokenCounter) -> tuple[Conversation, Measurement]:
    conversation = Conversation(tuple(messages))
    return conversation, measure(conversation, counter, media_rule("openai_patches"))


def run(
    messages: Sequence[Message], recipe: Recipe, kit: Kit
) -> tuple[Conversation, Measurement, Fitted]:
    conversation, measurement = sized(messages, kit.counter)
    return conversation, measurement, compress(conversation, measurement, recipe, kit)


def applied(conversation: Conversation, fitted: Fitted) -> list[str]:
    """Every part's text after the fit."""
    edits = {edit.path: edit.text for edit in fitted.edits}
    return [
        edits.get(part.path, part.text) if part.path is not None else part.text
        for message in conversation.messages
        for part in message.parts
    ]


def rebuilt(conversation: Conversation, fitted: Fitted) -> Conversation:
    texts = iter(applied(conversation, fitted))
    return Conversation(
        tuple(
            Message(
                message.role,
                tuple(
                    Part(part.kind, next(texts), part.path, part.call_id) for part in message.parts
                ),
            )
            for message in conversation.messages
        )
    )


RECIPE = Recipe(Way.COMPRESS, 4_000, keep_recent=1_000)


@pytest.mark.parametrize("make", [dialogue, agent])
def test_the_target_is_reached_and_counted_right(make: object, counter: TokenCounter) -> None:
    """The prompt ends at or under the target, and at exactly the size that is reported."""
    messages = dialogue(60) if make is dialogue else agent(26)
    conversation, measurement, fitted = run(messages, RECIPE, Kit(counter))
    assert measurement.prompt_tokens > 2 * RECIPE.target_tokens
    assert (fitted.way, fitted.refused) == (Way.COMPRESS, None)
    assert fitted.prompt_tokens <= RECIPE.target_tokens
    again = measure(rebuilt(conversation, fitted), counter, media_rule("openai_patches"))
    assert again.prompt_tokens == fitted.prompt_tokens


def test_protected_and_recent_texts_are_never_edited(counter: TokenCounter) -> None:
    """No edit stands at a protected path, at a tool call, or within the newest tokens."""
    conversation, measurement, fitted = run(agent(24), RECIPE, Kit(counter))
    edited = {edit.path for edit in fitted.edits}
    for at, number in protected(conversation):
        assert conversation.messages[at].parts[number].path not in edited
    behind = 0
    for at in range(len(conversation.messages) - 1, -1, -1):
        if behind < RECIPE.keep_recent:
            assert not edited & {part.path for part in conversation.messages[at].parts}
        behind += measurement.message_tokens[at]


def test_a_growing_agent_run_keeps_its_prefix(counter: TokenCounter) -> None:
    """Over 60 steps the bytes sent before are, at 9 turns of 10, a prefix of those sent next."""
    store = MemoryStore(time.monotonic).for_team("team")
    recipe = Recipe(Way.COMPRESS, 12_000, keep_recent=1_000)
    messages = agent(60)
    before: list[str] = []
    kept = turns = compressed = 0
    for length in range(3, len(messages) + 1, 2):
        conversation, _, fitted = run(messages[:length], recipe, Kit(counter, memory=store))
        assert fitted.refused is None
        texts = applied(conversation, fitted)
        turns += 1
        compressed += fitted.way is Way.COMPRESS
        kept += texts[: len(before)] == before
        before = texts
    assert compressed > 20
    assert kept / turns >= 0.9


def test_with_and_without_a_memory_the_bytes_are_the_same(counter: TokenCounter) -> None:
    """A forgotten memory is made again exactly as it was."""
    store = MemoryStore(time.monotonic).for_team("team")
    first = run(dialogue(40), RECIPE, Kit(counter, memory=store))[2]
    second = run(dialogue(40), RECIPE, Kit(counter, memory=store))[2]
    assert first == second == run(dialogue(40), RECIPE, Kit(counter))[2]


def test_cuts_say_what_was_lost(counter: TokenCounter) -> None:
    """Each cut's span, tokens and hash are those of the text that is gone."""
    conversation, _, fitted = run(dialogue(40), RECIPE, Kit(counter))
    texts = {part.path: part.text for m in conversation.messages for part in m.parts}
    assert {cut.path for cut in fitted.cuts} == {edit.path for edit in fitted.edits}
    for cut in fitted.cuts:
        lost = texts[cut.path][cut.start : cut.end]
        assert cut.sha256 == hashlib.sha256(lost.encode()).hexdigest()
        assert cut.tokens == counter.count(lost)
        assert 0.0 <= cut.score <= 1.0
        assert cut.way is Way.COMPRESS


def test_a_memory_target_is_reached_as_the_conversation_grows(counter: TokenCounter) -> None:
    """The target made for a growing history is never refused and always worth the rewrite."""
    store = MemoryStore(time.monotonic).for_team("team")
    messages = agent(70)
    for length in range(41, len(messages) + 1, 4):
        conversation, measurement = sized(messages[:length], counter)
        target = memory_target(measurement, 20, 1_000, 8.0)
        recipe = Recipe(Way.COMPRESS, target, 1_000, 8.0)
        fitted = compress(conversation, measurement, recipe, Kit(counter, memory=store))
        assert fitted.refused is None
        assert fitted.prompt_tokens <= target
        assert target < 0.8 * measurement.prompt_tokens


def test_a_missed_target_may_widen(counter: TokenCounter) -> None:
    """With ``widen_to`` what was saved is taken though the target was missed, else it is not."""
    messages = dialogue(60)
    strict = run(messages, Recipe(Way.COMPRESS, 900, 400), Kit(counter))[2]
    assert strict.refused == "protected"
    wide = run(messages, Recipe(Way.COMPRESS, 900, 400, widen_to=4_000), Kit(counter))[2]
    assert wide.refused is None
    assert 900 < wide.prompt_tokens <= 4_000


def test_what_fits_already_is_left_whole(counter: TokenCounter) -> None:
    """Under the target nothing is done, and that is no refusal."""
    _, measurement, fitted = run(dialogue(2), RECIPE, Kit(counter))
    assert fitted == Fitted(Way.WHOLE, (), (), measurement.prompt_tokens)


def test_a_target_below_what_is_protected_is_refused(counter: TokenCounter) -> None:
    """Where the system text alone is too long, nothing is edited and the reason is given."""
    messages = [Message("system", (part(prose(1, 400), 0),)), *dialogue(6)[1:]]
    _, measurement, fitted = run(messages, RECIPE, Kit(counter))
    assert fitted == Fitted(Way.WHOLE, (), (), measurement.prompt_tokens, refused="protected")


def test_a_ratio_that_allows_nothing_is_refused(counter: TokenCounter) -> None:
    """A ratio of 1 makes nothing smaller."""
    fitted = run(dialogue(40), Recipe(Way.COMPRESS, 4_000, 1_000, ratio=1.0), Kit(counter))[2]
    assert (fitted.refused, fitted.edits) == ("not_smaller", ())


def test_a_document_in_the_last_turn_is_condensed_and_its_question_kept(
    counter: TokenCounter,
) -> None:
    """The question stays byte for byte; the sentence that it is about is still there."""
    needle = "The vault code of the lighthouse is 7719-KL."
    body = prose(3, 300) + "\n\n" + needle + " " + prose(5, 300)
    question = "Question: What is the vault code of the lighthouse?"
    messages = [Message("user", (part(body + "\n\n" + question, 0),))]
    conversation, measurement, fitted = run(messages, Recipe(Way.COMPRESS, 3_000), Kit(counter))
    assert measurement.prompt_tokens > 8_000
    assert fitted.refused is None
    text = applied(conversation, fitted)[0]
    assert text.endswith(question)
    assert needle in text
    assert fitted.prompt_tokens <= 3_000


def test_json_of_tools_stays_json(counter: TokenCounter) -> None:
    """An old JSON result is condensed to smaller JSON with the same keys."""
    rows = [{"id": f"u-{at}", "ok": True, "note": prose(at, 4)} for at in range(30)]
    messages = agent(14)
    result = part(json.dumps({"rows": rows}), 2, PartKind.TOOL_RESULT, "c0")
    messages[2] = Message("tool", (result,))
    conversation, _, fitted = run(messages, Recipe(Way.COMPRESS, 3_000, 800), Kit(counter))
    edited = {edit.path: edit.text for edit in fitted.edits}
    smaller = json.loads(edited[result.path or ()])
    assert list(smaller) == ["rows"]
    assert smaller["rows"][0]["id"] == "u-0"
    assert len(edited[result.path or ()]) < len(result.text) / 3
    assert conversation.messages[2] is messages[2]


class Inventor:
    """A summariser that makes things up, and one that repeats the source's start."""

    def __init__(self, *, honest: bool) -> None:
        self.honest = honest
        self.name = "honest" if honest else "inventor"
        self.asked = 0

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """Short texts."""
        del max_tokens, question
        self.asked += len(texts)
        if self.honest:
            return ["In short: " + text.split(". ", maxsplit=1)[0] + "." for text in texts]
        return ["They agreed on 987654 in Atlantis." for _ in texts]


def test_an_invention_never_reaches_the_prompt(counter: TokenCounter) -> None:
    """A summary with a number that the text lacks is replaced by an extract."""
    inventor = Inventor(honest=False)
    conversation, _, fitted = run(dialogue(40), RECIPE, Kit(counter, summarizer=inventor))
    assert inventor.asked > 0
    assert fitted.refused is None
    assert not any("Atlantis" in text for text in applied(conversation, fitted))


def test_a_faithful_summary_is_used_and_asked_for_once(counter: TokenCounter) -> None:
    """A summary that holds is what is sent, and the second turn does not ask again."""
    summariser = Inventor(honest=True)
    store = MemoryStore(time.monotonic).for_team("team")
    kit = Kit(counter, summarizer=summariser, memory=store)
    conversation, _, fitted = run(dialogue(40), RECIPE, kit)
    assert any(text.startswith("In short: ") for text in applied(conversation, fitted))
    asked = summariser.asked
    assert run(dialogue(40), RECIPE, kit)[2] == fitted
    assert summariser.asked == asked


def test_a_slow_model_is_no_longer_asked_and_its_turn_stays_as_sent(
    counter: TokenCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past its time the rest is extracted, and the next turn sends those very bytes again."""
    now_s = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])

    class Slow(Inventor):
        """Takes an hour a call."""

        def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
            """As the honest one, later."""
            now_s[0] += 3_600
            return super().summarize(texts, max_tokens, question)

    slow = Slow(honest=True)
    kit = Kit(counter, summarizer=slow, memory=MemoryStore(lambda: 0.0).for_team("team"))
    conversation, _, fitted = run(dialogue(80), RECIPE, kit)
    asked = slow.asked
    summaries = [text.startswith("In short: ") for text in applied(conversation, fitted)]
    assert asked > 0
    assert 0 < sum(summaries) < len(fitted.edits)
    assert run(dialogue(80), RECIPE, kit)[2] == fitted
    assert slow.asked == asked


def test_a_spoilt_memory_is_made_anew(counter: TokenCounter) -> None:
    """What does not parse, or does not fit the texts, is ignored."""

    class Spoilt:
        """Answers anything with rubbish."""

        def __init__(self, text: str) -> None:
            self.text = text

        def get(self, key: str) -> str | None:
            """Rubbish."""
            del key
            return self.text

        def put(self, key: str, text: str) -> None:
            """Forget it."""

    sound = run(dialogue(40), RECIPE, Kit(counter))[2]
    for rubbish in ("{", "[]", '[["x", [[5, 99999999]], 0.1]]', '["x"]', "null"):
        assert run(dialogue(40), RECIPE, Kit(counter, memory=Spoilt(rubbish)))[2] == sound


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant", "tool", "system"]), st.integers(0, 60)),
        min_size=1,
        max_size=30,
    ),
    st.integers(100, 4_000),
    st.integers(0, 2_000),
    st.floats(1.1, 30.0),
)
def test_any_history_is_fitted_safely(
    counter: TokenCounter,
    shape: list[tuple[str, int]],
    target: int,
    recent: int,
    ratio: float,
) -> None:
    """Whatever the history: the target, or a refusal without edits; protected texts untouched."""
    messages = []
    for at, (role, length) in enumerate(shape):
        kind = PartKind.TOOL_RESULT if role == "tool" else PartKind.TEXT
        messages.append(Message(role, (part(prose(at, length), at, kind, f"c{at}"),)))
    recipe = Recipe(Way.COMPRESS, target, recent, ratio)
    conversation, measurement, fitted = run(messages, recipe, Kit(counter))
    if fitted.refused is not None or fitted.way is Way.WHOLE:
        assert (fitted.edits, fitted.cuts) == ((), ())
        assert fitted.prompt_tokens == measurement.prompt_tokens
        return
    assert fitted.prompt_tokens <= target
    frozen = {
        conversation.messages[at].parts[number].path for at, number in protected(conversation)
    }
    last = conversation.last_human()
    asked = {("messages", last, "content")} if last is not None else set()
    assert not {edit.path for edit in fitted.edits} & (frozen - asked)
    again = measure(rebuilt(conversation, fitted), counter, media_rule("openai_patches"))
    assert again.prompt_tokens == fitted.prompt_tokens


class Allowance:
    """A time limit that is over after so many looks at the clock."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> None:
        """One look."""
        self.left -= 1
        if self.left < 0:
            raise TimeoutError


def test_work_cut_off_by_the_time_limit_is_not_lost(counter: TokenCounter) -> None:
    """What was remembered before the time was over is there for the next turn."""
    store = MemoryStore(lambda: 0.0)
    kit = Kit(counter, memory=store.for_team("team"))
    conversation, measurement = sized(dialogue(60), counter)
    fitted = None
    for allowed in range(1, 100):
        held = store.held_bytes
        with contextlib.suppress(TimeoutError):
            fitted = compress(conversation, measurement, RECIPE, kit, Allowance(allowed))
        if fitted is not None:
            break
        assert store.held_bytes > held or allowed == 1
    assert fitted == compress(conversation, measurement, RECIPE, Kit(counter))


def test_a_slow_model_is_never_waited_for(counter: TokenCounter) -> None:
    """Where the summariser may not run inside a request, extracts stand in for it."""

    class Unwanted:
        name = "unwanted"

        def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
            raise AssertionError("the request waited for a model")

    kit = Kit(counter, summarizer=Unwanted(), model_inline=False)
    _, _, fitted = run(dialogue(40), RECIPE, kit)
    assert fitted.way is Way.COMPRESS


class Scribe:
    """A slow model that names what it read, faithfully."""

    name = "scribe"

    def __init__(self) -> None:
        self.read = 0

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """The first sentence of each text."""
        self.read += len(texts)
        return [text.split(". ")[0] + "." for text in texts]


def test_memories_made_ahead_are_there_when_the_next_turn_needs_them(
    counter: TokenCounter,
) -> None:
    """A model too slow for a request writes after the response; the next turn uses its words."""
    scribe = Scribe()
    memory = MemoryStore(lambda: 0.0).for_team("team")
    slow = Kit(counter, summarizer=scribe, memory=memory, model_inline=False)
    before, measured = sized(dialogue(58, sentences=40), counter)
    precompute(before, measured, RECIPE, slow)
    assert (read := scribe.read) > 0
    _, _, fitted = run(dialogue(60, sentences=40), RECIPE, slow)
    assert fitted.way is Way.COMPRESS
    assert scribe.read == read
    _, _, extracted = run(dialogue(60, sentences=40), RECIPE, Kit(counter))
    assert fitted.edits != extracted.edits


def test_what_was_sent_as_an_extract_is_never_rewritten_by_a_model(counter: TokenCounter) -> None:
    """A memory made ahead too late would break the provider's cached prefix."""
    memory = MemoryStore(lambda: 0.0).for_team("team")
    slow = Kit(counter, summarizer=Scribe(), memory=memory, model_inline=False)
    conversation, measured, sent = run(dialogue(60, sentences=40), RECIPE, slow)
    precompute(conversation, measured, RECIPE, slow)
    assert compress(conversation, measured, RECIPE, slow).edits == sent.edits


def test_eight_memories_become_one_where_the_hardest_ratio_is_not_enough(
    counter: TokenCounter,
) -> None:
    """The oldest groups of eight are remembered once more; newer memories stay as they were."""
    recipe = Recipe(Way.COMPRESS, 4_800, keep_recent=800, ratio=3.0)
    messages = dialogue(150, sentences=14)
    _, measured, fitted = run(messages, recipe, Kit(counter))
    assert (fitted.way, fitted.refused) == (Way.COMPRESS, None)
    assert fitted.prompt_tokens <= recipe.target_tokens < measured.prompt_tokens / 4
    sizes = {e.path[1]: counter.count(e.text) for e in fitted.edits}
    first = sum(sizes[at] for at in range(1, 21))
    last = sum(sizes[at] for at in sorted(sizes)[-20:])
    assert first < last / 1.5
    _, _, more = run(dialogue(152, sentences=14), recipe, Kit(counter))
    assert more.refused is None
    kept = {e.path: e.text for e in more.edits}
    same = sum(kept.get(e.path) == e.text for e in fitted.edits)
    assert same >= 0.8 * len(fitted.edits)
