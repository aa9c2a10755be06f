"""Whatever a history is made of: a fit breaks nothing, or leaves it whole.

Fuzzed request bodies of all three wires, through the real parser, the real fit and the real writer.
`WEIR_FUZZ=800` sets how many histories each of the thirteen properties sees (25 without it):
10,400 in all, of which each wire has 2,400 or more.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compressor.conversation import Conversation, PartKind
from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import Measurement, measure
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.protect import open_spans
from compressor.recipe import Fitted, Recipe, Way
from compressor.tokens import load_counter
from gateway.exchange import ClientHeaders
from gateway.wire.body import with_edits
from gateway.wire.registry import WIRES

FUZZ = int(os.environ.get("WEIR_FUZZ", "25"))
COUNTER = load_counter("o200k_base")
MEDIA = media_rule("openai_tiles")
MARK = re.compile(
    r" ?\[\.\.\. [\d,]+ (?:lines \([\d,]+-[\d,]+\)|characters) omitted \.\.\.\][ \n]?"
)
WORDS = [
    "harbour", "valve", "ledger", "invoice", "orchard", "telescope", "glacier", "bakery", "error",
    "timeout", "retry", "owner", "Zürich", "東京", "naïve", "parser", "getUserName", "config_path",
    "2026-11-22", "0x1f", "17.5%", "https://a.example/x",
]  # fmt: skip

fuzzed = settings(
    max_examples=FUZZ,
    deadline=None,
    phases=(Phase.generate,) if FUZZ > 1_000 else tuple(Phase),
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Case:
    """A body of one wire, what it parses to, and what is asked of it."""

    wire: str
    raw: bytes
    conversation: Conversation
    measurement: Measurement
    recipe: Recipe


def prose(rng: random.Random, sentences: int) -> str:
    return " ".join(
        " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 14))).capitalize() + "."
        for _ in range(sentences)
    )


def records(rng: random.Random, count: int) -> str:
    rows = [
        {"id": n, "name": rng.choice(WORDS), "note": prose(rng, 2), "big": 10**17 + n, "ok": None}
        for n in range(count)
    ]
    return json.dumps(rows if rng.random() < 0.6 else {"rows": rows, "total": count})


def log_lines(rng: random.Random, count: int) -> str:
    return "\n".join(
        f"2026-11-22T10:{n % 60:02d}:00Z {rng.choice(['INFO', 'ERROR'])} {prose(rng, 1)} id={n}"
        for n in range(count)
    )


def code(rng: random.Random, count: int) -> str:
    blocks = [f"def f{n}(x):\n    return x + {rng.randint(1, 99)}  # {prose(rng, 1)}"
              for n in range(count)]  # fmt: skip
    return "```python\n" + "\n\n".join(blocks) + "\n```"


def text(rng: random.Random) -> str:
    make = rng.choice((prose, prose, records, log_lines, code))
    size = rng.choice((1, 3, 15, 45))
    return make(rng, size)


def chat_body(rng: random.Random, turns: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    if rng.random() < 0.7:
        messages.append({"role": "system", "content": prose(rng, rng.choice((2, 80)))})
    for turn in range(turns):
        content: Any = text(rng)
        if rng.random() < 0.25:
            content = [{"type": "text", "text": content}, {"type": "text", "text": text(rng)}]
            if rng.random() < 0.4:
                content[0]["cache_control"] = {"type": "ephemeral"}
            if rng.random() < 0.2:
                content.append({"type": "image_url", "image_url": {"url": "https://a/b.png"}})
        messages.append({"role": "user", "content": content})
        for step in range(rng.choice((0, 0, 1, 2))):
            ids = [f"c{turn}-{step}-{n}" for n in range(rng.choice((1, 1, 2)))]
            calls = [
                {"id": i, "type": "function",
                 "function": {"name": "look", "arguments": json.dumps({"q": prose(rng, 1)})}}
                for i in ids
            ]  # fmt: skip
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": i, "content": text(rng)} for i in ids]
        if turn < turns - 1 or rng.random() < 0.1:
            said: dict[str, Any] = {"role": "assistant", "content": text(rng)}
            if rng.random() < 0.1:
                said["reasoning_content"] = prose(rng, 3)
            messages.append(said)
    return {"model": "m", "messages": messages, "n": 1, "temperature": 0.10}


def messages_body(rng: random.Random, turns: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        messages.append({"role": "user", "content": text(rng)})
        if rng.random() < 0.4:
            use = f"t{turn}"
            messages.append(
                {"role": "assistant", "content": [
                    {"type": "text", "text": prose(rng, 2)},
                    {"type": "tool_use", "id": use, "name": "look", "input": {"q": turn}}]}
            )  # fmt: skip
            result: Any = text(rng)
            if rng.random() < 0.5:
                result = [{"type": "text", "text": result}]
            blocks = [{"type": "tool_result", "tool_use_id": use, "content": result}]
            messages.append({"role": "user", "content": blocks})
        if turn < turns - 1:
            messages.append({"role": "assistant", "content": text(rng)})
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": messages}
    if rng.random() < 0.6:
        body["system"] = prose(rng, 40)
    return body


def step_items(rng: random.Random, step: str) -> Iterator[dict[str, Any]]:
    """Perhaps a thought, one call or three at a time, and their outputs."""
    if rng.random() < 0.4:
        yield {"type": "reasoning", "id": f"rs{step}", "summary": [],
               "encrypted_content": prose(rng, 20)}  # fmt: skip
    custom = rng.random() < 0.2
    kind, said = ("custom_tool", {"input": "go"}) if custom else ("function", {"arguments": "{}"})
    ids = [f"c{step}-{n}" for n in range(rng.choice((1, 1, 3)))]
    for i in ids:
        yield {"type": f"{kind}_call", "call_id": i, "name": "look", **said}
    for i in ids:
        output: Any = text(rng)
        if rng.random() < 0.3:
            output = [{"type": "input_text", "text": output}]
        yield {"type": f"{kind}_call_output", "call_id": i, "output": output}


def said_item(rng: random.Random, turn: int) -> dict[str, Any]:
    cited = {"type": "url_citation", "start_index": 3, "end_index": 9, "url": "u"}
    marks = [cited] if rng.random() < 0.2 else []
    part = {"type": "output_text", "text": text(rng), "annotations": marks}
    return {"type": "message", "role": "assistant", "id": f"msg{turn}", "status": "completed",
            "content": [part]}  # fmt: skip


def responses_body(rng: random.Random, turns: int) -> dict[str, Any]:
    """Items as agents send them back: reasoning, parallel calls, compactions, annotated words."""
    items: list[dict[str, Any]] = []
    for turn in range(turns):
        content: Any = text(rng)
        if rng.random() < 0.5:
            content = [{"type": "input_text", "text": content}]
            if rng.random() < 0.2:
                content.append({"type": "input_image", "image_url": "https://a/b.png"})
        items.append({"type": "message", "role": "user", "content": content})
        for step in range(rng.choice((0, 0, 1, 2))):
            items += step_items(rng, f"{turn}-{step}")
        if turn < turns - 1 or rng.random() < 0.1:
            items.append(said_item(rng, turn))
        if rng.random() < 0.08:
            items.append({"type": "compaction", "encrypted_content": prose(rng, 30)})
        if rng.random() < 0.04:
            items.append({"type": "item_reference", "id": f"old{turn}"})
    body: dict[str, Any] = {"model": "m", "input": items, "store": False, "top_p": 0.50}
    if rng.random() < 0.6:
        body["instructions"] = prose(rng, 40)
    if rng.random() < 0.1:
        body["previous_response_id"] = f"resp_{rng.randint(1, 9)}"
    return body


BODIES = {"chat": chat_body, "messages": messages_body, "responses": responses_body}


def case(seed: int, wire: str, way: Way) -> Case:
    rng = random.Random(seed)
    make = BODIES[wire]
    raw = json.dumps(make(rng, rng.choice((1, 2, 5, 9)))).encode()
    conversation = WIRES[wire].parse(raw, ClientHeaders()).conversation
    measured = measure(conversation, COUNTER, MEDIA)
    recipe = Recipe(
        way,
        max(50, int(measured.prompt_tokens * rng.choice((0.1, 0.3, 0.6, 0.9)))),
        keep_recent=rng.choice((256, 1_000, 4_096)),
        ratio=rng.choice((2.0, 10.0)),
        widen_to=rng.choice((None, measured.prompt_tokens)),
        time_limit_ms=60_000,
    )
    return Case(wire, raw, conversation, measured, recipe)


def texts_at(body: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, str]]:
    """(path, text) of every string of a JSON value."""
    if isinstance(body, str):
        yield path, body
    if isinstance(body, dict | list):
        for key, inner in body.items() if isinstance(body, dict) else enumerate(body):
            yield from texts_at(inner, (*path, key))


def shape(body: Any, edited: set[Any], path: tuple[str | int, ...] = ()) -> Any:
    """The body with every edited text blanked."""
    if path in edited:
        return None
    if isinstance(body, dict):
        return {k: shape(v, edited, (*path, k)) for k, v in body.items()}
    if isinstance(body, list):
        return [shape(v, edited, (*path, n)) for n, v in enumerate(body)]
    return body


def check(one: Case, fitted: Fitted) -> None:
    """Everything that a fit promises of any history."""
    if fitted.refused is not None or not fitted.edits:
        assert fitted.edits == ()
        assert fitted.prompt_tokens == one.measurement.prompt_tokens
        return
    before = orjson.loads(one.raw)
    sent = with_edits(one.raw, fitted.edits, {})
    after = orjson.loads(sent)
    edited = {edit.path for edit in fitted.edits}
    assert len(edited) == len(fitted.edits)
    # Only texts changed: every message, role, id, call and result stands where it stood.
    assert shape(before, edited) == shape(after, edited)
    texts, now = dict(texts_at(before)), dict(texts_at(after))
    parts = {p.path: (m.role, p) for m in one.conversation.messages for p in m.parts if p.path}
    for path in edited:
        role, part = parts[path]
        assert role not in {"system", "developer"}
        assert part.kind in {PartKind.TEXT, PartKind.TOOL_RESULT}
        assert not part.cache_mark
        if is_json(texts[path]):
            assert is_json(now[path])
    if one.wire == "responses":
        items_untouched(before["input"], edited)
    protected(one, edited, now)
    # Really smaller, by exactly what is said.
    again = measure(WIRES[one.wire].parse(sent, ClientHeaders()).conversation, COUNTER, MEDIA)
    assert again.prompt_tokens == fitted.prompt_tokens < one.measurement.prompt_tokens
    if fitted.way is Way.TRIM:
        for path in edited:
            if not is_json(texts[path]):
                assert is_subsequence(MARK.split(now[path]), texts[path])


def items_untouched(items: list[dict[str, Any]], edited: set[Any]) -> None:
    """No text up to a compaction or reference, none annotated, none of the newest calls' results.

    Reasoning, calls and the items themselves are compared whole by their shape.
    """
    touched = {path[1] for path in edited if path[0] == "input"}
    kinds = [item["type"] for item in items]
    opaque = [n for n, kind in enumerate(kinds) if kind in {"compaction", "item_reference"}]
    assert not touched & set(range(max(opaque, default=-1) + 1))
    for n in touched:
        content = items[n].get("content")
        marked = isinstance(content, list) and any(part.get("annotations") for part in content)
        assert not marked
    newest = len(kinds) - 1
    while newest >= 0 and kinds[newest].endswith("call_output"):
        newest -= 1
    if newest >= 0 and kinds[newest].endswith("call"):
        assert not touched & set(range(newest, len(kinds)))


def protected(one: Case, edited: set[Any], now: dict[Any, str]) -> None:
    """The newest question stands whole, and nothing up to the newest cache mark is touched."""
    messages = one.conversation.messages
    marked = [n for n, m in enumerate(messages) if any(p.cache_mark for p in m.parts)]
    for message in messages[: max(marked, default=0)]:
        assert not edited & {part.path for part in message.parts}
    last = one.conversation.last_human()
    if last is None:
        return
    question = one.measurement.question
    asked = [part for part in messages[last].parts if part.kind is PartKind.TEXT]
    whole = " ".join(now.get(part.path, part.text) for part in asked)
    for line in question.splitlines():
        assert line.strip() in whole


def is_json(value: str) -> bool:
    try:
        return isinstance(json.loads(value), dict | list)
    except ValueError:
        return False


def is_subsequence(pieces: list[str], original: str) -> bool:
    """Whether all pieces stand in the original, in order, without overlap."""
    at = 0
    for piece in pieces:
        found = original.find(piece.strip(), at)
        if found < 0:
            return False
        at = found + len(piece.strip())
    return True


WAYS = [pytest.param(way, id=way.value) for way in (Way.LOSSLESS, Way.TRIM, Way.COMPRESS)]


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("wire", list(BODIES))
@pytest.mark.parametrize("way", WAYS)
def test_no_history_is_ever_broken(wire: str, way: Way) -> None:
    """Pairs, JSON, roles, marks, system text and question as they were; smaller as told."""

    @fuzzed
    @given(st.integers(0, 2**32))
    def holds(seed: int) -> None:
        one = case(seed, wire, way)
        fitted = fit(one.conversation, one.measurement, one.recipe, Kit(COUNTER))
        check(one, fitted)
        assert fit(one.conversation, one.measurement, one.recipe, Kit(COUNTER)) == fitted

    holds()


@pytest.mark.slow
@fuzzed
@given(st.integers(0, 2**32))
def test_what_goes_on_from_an_earlier_response_is_not_fitted(seed: int) -> None:
    """What the provider keeps cannot be seen, so the body goes as it is, whatever is asked."""
    rng = random.Random(seed)
    body = responses_body(rng, rng.choice((1, 3))) | {"previous_response_id": "resp_1"}
    asked = ClientHeaders(mode="save", fit=Way.TRIM)
    request = WIRES["responses"].parse(json.dumps(body).encode(), asked)
    assert request.hidden
    assert (request.facts.mode, request.facts.fit) == ("pass", Way.WHOLE)


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@fuzzed
@given(st.integers(0, 2**32), st.sampled_from([Way.TRIM, Way.COMPRESS]))
def test_the_same_history_gives_the_same_bytes(seed: int, way: Way) -> None:
    """With and without memories of it, again and again."""
    one = case(seed, random.Random(seed).choice(list(BODIES)), way)
    store = Kit(COUNTER, memory=MemoryStore(lambda: 0.0).for_team("t"))
    results = [
        fit(one.conversation, one.measurement, one.recipe, kit)
        for kit in (Kit(COUNTER), store, store)
    ]
    assert results[0] == results[1] == results[2]


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@fuzzed
@given(st.integers(0, 2**32), st.sampled_from([Way.LOSSLESS, Way.TRIM, Way.COMPRESS]))
def test_without_time_everything_goes_whole(seed: int, way: Way) -> None:
    """A fit that may take no time gives the original, and takes next to none."""
    one = case(seed, "chat", way)
    recipe = replace(one.recipe, time_limit_ms=0.0)
    started = time.thread_time()
    fitted = fit(one.conversation, one.measurement, recipe, Kit(COUNTER))
    assert fitted.edits == ()
    open_ = open_spans(one.conversation, COUNTER, 0)
    assert fitted.refused is not None or not open_ or fitted.way is Way.WHOLE
    assert time.thread_time() - started < 1.0


@pytest.mark.slow
@pytest.mark.timeout(7_200)
@fuzzed
@given(st.integers(0, 2**32))
def test_memories_stay_the_same_as_a_conversation_grows(seed: int) -> None:
    """A memory once sent is the same in every later turn, and never the original again."""
    rng = random.Random(seed)
    turns = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": prose(rng, rng.randint(5, 60))}
        for n in range(25)
    ]
    kit = Kit(COUNTER, memory=MemoryStore(lambda: 0.0).for_team("t"))
    memories: dict[Any, str] = {}
    for length in range(9, 26, 2):
        raw = json.dumps({"model": "m", "messages": turns[:length]}).encode()
        conversation = WIRES["chat"].parse(raw, ClientHeaders()).conversation
        measured = measure(conversation, COUNTER, MEDIA)
        recipe = Recipe(Way.COMPRESS, measured.prompt_tokens * 4 // 5, 600, time_limit_ms=60_000)
        fitted = fit(conversation, measured, recipe, kit)
        if fitted.refused is not None or fitted.way is not Way.COMPRESS:
            continue
        made = {e.path: e.text for e in fitted.edits if e.path[1] < length - 1}
        for path in memories.keys() & made.keys():
            assert made[path] == memories[path]
        assert set(memories) <= set(made)
        memories = made
