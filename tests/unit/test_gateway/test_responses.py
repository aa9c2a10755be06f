"""OpenAI's responses wire: what a body means, and what its stream told."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.conversation import PartKind
from compressor.recipe import Edit, Way
from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.wire import body as bodies
from gateway.wire import completions, embeddings
from gateway.wire.responses import parse
from gateway.wire.responses_stream import ResponsesStream

BODY: dict[str, Any] = {
    "model": "m",
    "instructions": "Be brief.",
    "max_output_tokens": 90,
    "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
    "tools": [{"type": "function", "name": "f", "parameters": {}}],
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "go"}]},
        {"type": "reasoning", "summary": [], "encrypted_content": "e"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "done"},
    ],
}


def read(body: object) -> ChatRequest:
    """A body, parsed."""
    return parse(json.dumps(body).encode(), ClientHeaders())


def test_items_become_messages_with_their_pairing() -> None:
    """Instructions, words, reasoning, calls and outputs each become what they are."""
    request = read(BODY)
    messages = request.conversation.messages
    assert [m.role for m in messages] == ["system", "user", "assistant", "assistant", "tool"]
    assert messages[3].parts[0].kind is PartKind.TOOL_CALL
    assert messages[3].parts[0].call_id == messages[4].parts[0].call_id == "c"
    assert request.facts.in_tool_loop
    assert request.facts.signed_thinking
    assert request.facts.json_schema
    assert request.facts.max_output_tokens == 90
    assert not request.hidden


def test_a_text_whose_characters_are_counted_is_not_replaceable() -> None:
    """Annotations name places in the text, so the text stays; without any it may be fitted."""
    cited = {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "https://a"}
    for marks, place in (([cited], None), ([], ("input", 0, "content", 0, "text"))):
        part = {"type": "output_text", "text": "See a.", "annotations": marks}
        item = {"type": "message", "role": "assistant", "content": [part]}
        request = read({"model": "m", "input": [item]})
        assert request.conversation.messages[0].parts[0].path == place


def test_every_path_leads_to_its_text() -> None:
    """Replacing a text at its path changes that text and nothing else."""
    request = read(BODY)
    paths = [p.path for m in request.conversation.messages for p in m.parts if p.path]
    assert len(paths) == 3
    for path in paths:
        raw = bodies.with_edits(request.raw, [Edit(path, "CHANGED")], {})
        texts = [p.text for m in parse(raw, ClientHeaders()).conversation.messages for p in m.parts]
        assert texts.count("CHANGED") == 1


@pytest.mark.parametrize("key", ["previous_response_id", "conversation"])
def test_what_lies_at_the_provider_passes_untouched(key: str) -> None:
    """A request that continues there is neither routed nor fitted."""
    request = read({**BODY, key: "resp_1"})
    assert request.hidden
    assert request.facts.mode == "pass"
    assert request.facts.fit is Way.WHOLE


@pytest.mark.parametrize(
    ("change", "param"),
    [({"input": []}, "input"), ({"input": 5}, "input"), ({"instructions": 5}, "instructions"),
     ({"background": True}, "background"), ({"input": [{"role": 1}]}, "input[0].role")],
    ids=["none", "number", "instructions", "background", "role"],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_named(change: dict[str, Any], param: str) -> None:
    """The complaint names the field that is wrong."""
    with pytest.raises(InvalidRequest) as refused:
        read({**BODY, **change})
    assert refused.value.param == param


def event(kind: str, **members: object) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


RESPONSE = {"id": "resp_1", "model": "m-2026", "service_tier": "flex", "error": None}
USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
STREAM = [
    event("response.created", response={**RESPONSE, "usage": None}),
    event("response.output_text.delta", delta='say "response.completed" — ü'),
    event("response.completed", response={**RESPONSE, "status": "completed", "usage": USAGE}),
]


@given(st.lists(st.integers(0, 5_000), max_size=10), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cut_gives_the_same_bytes_and_facts(cuts: list[int], end: bytes) -> None:
    """Whatever the pieces, what goes out is what came in, and the last event is billed."""
    data = b"".join(STREAM).replace(b"\n", end)
    stream = ResponsesStream()
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    out = [stream.feed(data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    assert b"".join(out) + stream.rest() == data
    assert stream.whole
    assert (stream.usage, stream.metered) == (USAGE, True)
    assert (stream.model, stream.service_tier) == ("m-2026", "flex")
    assert stream.text() == 'say "response.completed" — ü'


def test_a_cut_or_failed_stream_is_not_whole() -> None:
    """Neither the lack of an end nor a failure looks like an answer."""
    cut, failed = ResponsesStream(), ResponsesStream()
    cut.feed(b"".join(STREAM[:2]))
    told = {**RESPONSE, "status": "failed", "error": {"message": "boom"}, "usage": USAGE}
    failed.feed(STREAM[0] + event("response.failed", response=told))
    assert not cut.whole
    assert not cut.metered
    assert not failed.whole
    assert failed.usage == USAGE


def test_embeddings_write_nothing_and_completions_count_every_answer() -> None:
    """No completion is reserved for vectors; n, best_of and several prompts multiply it."""
    raw = json.dumps({"model": "m", "input": [[1, 2, 3], [4]]}).encode()
    assert embeddings.parse(raw, ClientHeaders()).facts.choices == 0
    raw = json.dumps({"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 3}).encode()
    facts = completions.parse(raw, ClientHeaders()).facts
    assert (facts.choices, facts.max_output_tokens) == (6, 16)
    raw = json.dumps({"model": "auto", "prompt": "a"}).encode()
    with pytest.raises(InvalidRequest, match="by name"):
        completions.parse(raw, ClientHeaders())
