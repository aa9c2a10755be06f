"""Crossing wires: what is asked is the same, what is counted is the same, nothing is invented."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from fakes import FakeReply, FakeUpstream
from hypothesis import given
from hypothesis import strategies as st

from billing.usage import chat_usage, messages_usage
from gateway.errors import BrokenOff, InvalidRequest
from gateway.upstream.crossed import CrossingUpstream
from gateway.upstream.protocol import Outbound
from gateway.wire import cross_chat, cross_chat_back, cross_messages, cross_messages_back
from gateway.wire.cross import Limits, Uncrossable
from gateway.wire.crossings import CROSSINGS
from gateway.wire.messages_stream import MessagesStream

LIMITS = Limits(500)
LONG = "mcp__" + "server_with_a_long_name__" * 3 + "tool"


def as_chat(**more: Any) -> dict[str, Any]:
    """A messages body, as chat."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], **more}
    return cross_messages.request(body, LIMITS)


def as_messages(**more: Any) -> dict[str, Any]:
    """A chat body, as messages."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **more}
    return cross_chat.request(body, LIMITS)


def test_an_agents_history_becomes_chat() -> None:
    """Thoughts stay behind, calls and results keep their pairing, pictures go with the user."""
    made = as_chat(
        system=[{"type": "text", "text": "A", "cache_control": {}}, {"type": "text", "text": "B"}],
        messages=[
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "reading"},
                    {"type": "tool_use", "id": "t1", "name": "Read", "input": {"p": 1.50}},
                    {"type": "tool_use", "id": "t2", "name": "Read", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "t2",
                        "content": [
                            {"type": "text", "text": "two"},
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64", "media_type": "image/png", "data": "AA=="
                                },
                            },
                        ],
                    },
                    {"type": "text", "text": "and?"},
                ],
            },
        ],
    )  # fmt: skip
    assert made["max_completion_tokens"] == 9
    roles = [message["role"] for message in made["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user"]
    assert made["messages"][0]["content"] == "A\nB"
    assert "hm" not in str(made)
    calls = made["messages"][2]["tool_calls"]
    assert [call["id"] for call in calls] == ["t1", "t2"]
    assert calls[0]["function"]["arguments"] == '{"p":1.5}'
    assert [m["tool_call_id"] for m in made["messages"][3:5]] == ["t1", "t2"]
    assert [part["type"] for part in made["messages"][5]["content"]] == ["image_url", "text"]


def test_tools_and_choices_cross_both_ways() -> None:
    """Schemas, forced tools, parallel calls and long names find their equals."""
    tool = {"name": LONG, "description": "d", "input_schema": {"type": "object"}}
    made = as_chat(
        tools=[tool],
        tool_choice={"type": "tool", "name": LONG, "disable_parallel_tool_use": True},
    )
    name = made["tools"][0]["function"]["name"]
    assert len(name) <= 64
    assert made["tool_choice"]["function"]["name"] == name
    assert made["parallel_tool_calls"] is False
    assert cross_messages.names({"tools": [tool]}) == {name: LONG}
    back = as_messages(
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert back["tools"] == [{"name": "f", "input_schema": {"type": "object"}}]
    assert back["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


def test_a_chat_history_becomes_messages() -> None:
    """System texts are gathered, neighbouring results share a message, signed thoughts return."""
    made = as_messages(
        max_completion_tokens=70,
        stop="END",
        temperature=1.5,
        messages=[
            {"role": "developer", "content": "A"},
            {"role": "user", "content": [{"type": "text", "text": "go"}]},
            {
                "role": "assistant",
                "content": None,
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "s"}],
                "tool_calls": [
                    {"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "c2", "function": {"name": "f", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
        ],
    )
    assert made["system"] == [{"type": "text", "text": "A"}]
    assert made["max_tokens"] == 70
    assert made["stop_sequences"] == ["END"]
    assert made["temperature"] == 1
    assert [m["role"] for m in made["messages"]] == ["user", "assistant", "user"]
    assert [b["type"] for b in made["messages"][1]["content"]] == [
        "thinking", "tool_use", "tool_use"
    ]  # fmt: skip
    assert made["messages"][1]["content"][1]["input"] == {"a": 1}
    assert [b["tool_use_id"] for b in made["messages"][2]["content"]] == ["c1", "c2"]


def test_a_missing_limit_is_the_plans() -> None:
    """Anthropic insists on a limit; the one that was held for is sent."""
    assert as_messages()["max_tokens"] == 500


@pytest.mark.parametrize(
    "more",
    [{"n": 2}, {"logprobs": True}, {"modalities": ["text", "audio"]}, {"tool_choice": "sometimes",
     "tools": [{"type": "function", "function": {"name": "f"}}]}],
    ids=["n", "logprobs", "audio", "choice"],
)  # fmt: skip
def test_what_anthropic_cannot_answer_is_refused(more: dict[str, Any]) -> None:
    """No field is dropped whose answer a client waits for."""
    with pytest.raises(Uncrossable):
        as_messages(**more)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "container_upload", "file_id": "f"},
    ],
    ids=["server-tool", "stored-image", "container"],
)
def test_what_only_anthropic_reads_is_refused(block: dict[str, Any]) -> None:
    """A block that the other side cannot see is never left out in silence."""
    role = "assistant" if block["type"] == "server_tool_use" else "user"
    with pytest.raises(Uncrossable):
        as_chat(messages=[{"role": role, "content": [block]}])


COUNTS = st.integers(0, 10_000_000)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_anthropics_buckets_survive_the_way_to_chat(
    fresh: int, read: int, written: int, out: int
) -> None:
    """Read as chat usage, the same tokens stand in the same buckets."""
    raw = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": written},
        "output_tokens": out,
    }
    theirs = messages_usage(raw)
    crossed = cross_chat_back.usage_back(raw)
    assert crossed is not None
    ours = chat_usage(crossed)
    for name in ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "output_tokens",
                 "cache_write_1h_tokens", "billed_tokens"):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name), name


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_openais_buckets_survive_the_way_to_messages(
    fresh: int, cached: int, out: int, thought: int
) -> None:
    """Read as messages usage, the same tokens stand in the same buckets."""
    raw = {
        "prompt_tokens": fresh + cached,
        "completion_tokens": out + thought,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    theirs = chat_usage(raw)
    crossed = cross_messages_back.usage_back(raw)
    assert crossed is not None
    ours = messages_usage(crossed)
    for name in ("input_tokens", "cache_read_tokens", "output_tokens", "reasoning_tokens"):
        assert getattr(ours, name) == getattr(theirs, name), name


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One chat chunk."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "c", "model": "m", "choices": [choice], **more}
    return b"data: " + orjson.dumps(data) + b"\n\n"


def call_piece(number: int, text: str, name: str | None = None) -> dict[str, Any]:
    """A delta with a piece of one tool call."""
    function: dict[str, Any] = {"arguments": text}
    named = {"id": f"c{number}", "type": "function"} if name else {}
    if name:
        function["name"] = name
    return {"tool_calls": [{"index": number, **named, "function": function}]}


STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Grüße "}),
    chunk({"content": "dir"}),
    chunk(call_piece(0, "", "f")),
    chunk(call_piece(0, '{"a"')),
    chunk(call_piece(0, ":1}")),
    chunk(call_piece(1, "{}", "g")),
    chunk({}, "tool_calls"),
    chunk({}, usage={"prompt_tokens": 5, "completion_tokens": 6}, choices=[]),
    b"data: [DONE]\n\n",
]


class Reply(FakeReply):
    """A stream in memory."""

    def __init__(self, pieces: list[bytes]) -> None:
        super().__init__(200, pieces, {"content-type": "text/event-stream"})


async def crossed(pieces: list[bytes], body: dict[str, Any] | None = None) -> bytes:
    """What a messages client gets of a chat stream."""
    upstream = CrossingUpstream(
        FakeUpstream(Reply(pieces)), CROSSINGS["openai"], "max_completion_tokens"
    )
    asked = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    raw = orjson.dumps(body or {**asked, "stream": True})
    reply = await upstream.send(
        Outbound("messages", "/v1/messages", raw, stream=True, model="m", headers={})
    )
    return b"".join([piece async for piece in reply.chunks()])


@given(st.lists(st.integers(0, 5_000), max_size=8))
async def test_a_chat_stream_becomes_the_same_message_however_it_is_cut(cuts: list[int]) -> None:
    """Blocks open and close in order; text, calls, stop reason and usage are all there."""
    data = b"".join(STREAM)
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    out = await crossed(pieces)
    assert out == await crossed([data])
    read = MessagesStream()
    read.feed(out)
    assert read.whole
    assert read.finish_reason == "tool_use"
    assert read.usage is not None
    assert read.usage["output_tokens"] == 6
    kinds = [orjson.loads(line[6:])["type"] for line in out.splitlines() if line[:5] == b"data:"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 3
    assert kinds[-2:] == ["message_delta", "message_stop"]


async def test_a_cut_stream_gets_no_invented_end() -> None:
    """Without a finish there is no message_stop."""
    out = await crossed(STREAM[:4])
    assert b"message_stop" not in out
    assert b"message_delta" not in out


async def test_a_finish_without_usage_or_done_is_still_an_end() -> None:
    """The answer was whole; the message says so."""
    out = await crossed(STREAM[:8])
    assert out.endswith(b'data: {"type":"message_stop"}\n\n')


async def test_an_error_inside_a_stream_is_told_as_one() -> None:
    """A chat error event becomes Anthropic's, and no end follows."""
    out = await crossed([*STREAM[:3], b'data: {"error":{"message":"overloaded"}}\n\n'])
    assert b"event: error" in out
    assert b"message_stop" not in out


async def test_pieces_of_two_calls_in_turn_break_off_rather_than_mix() -> None:
    """What cannot be told in Anthropic's order is an error, never a mixed-up call."""
    with pytest.raises(BrokenOff):
        await crossed([*STREAM[:7], chunk(call_piece(0, "again"))])


async def test_a_request_that_cannot_cross_is_refused_before_it_is_sent() -> None:
    """The refusal says what the other wire lacks."""
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "bash_20250124", "name": "bash"}],
    }
    with pytest.raises(InvalidRequest, match="bash_20250124"):
        await crossed([], body)


async def test_one_wires_headers_do_not_reach_the_other() -> None:
    """Betas of Anthropic mean nothing to OpenAI; a trace goes on."""
    fake = FakeUpstream(Reply(STREAM))
    upstream = CrossingUpstream(fake, CROSSINGS["openai"], "max_tokens")
    asked = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    headers = {"anthropic-beta": "b", "anthropic-version": "v", "traceparent": "t"}
    call = Outbound(
        "messages", "/v1/messages", orjson.dumps(asked), stream=True, model="m", headers=headers
    )
    await upstream.send(call)
    assert fake.calls[0].headers == {"traceparent": "t"}
    assert fake.calls[0].path == "/chat/completions"
    assert orjson.loads(fake.calls[0].body)["max_tokens"] == 5


def test_a_message_becomes_a_chat_answer_and_back() -> None:
    """Text, thoughts, calls and the reason for stopping survive."""
    message = {
        "id": "msg_1",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "So."},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
    chat = cross_chat_back.back(message, {})
    said = chat["choices"][0]["message"]
    assert said["thinking_blocks"][0]["signature"] == "s"
    assert chat["choices"][0]["finish_reason"] == "tool_calls"
    again = cross_messages_back.back(chat, {})
    assert again["content"] == message["content"][1:]
    assert again["stop_reason"] == "tool_use"
