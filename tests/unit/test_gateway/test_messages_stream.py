"""Anthropic's stream: the same bytes and the same facts however TCP cuts it."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.messages_stream import MessagesStream, error_event


def named(kind: str, **members: object) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **members}))


START = named(
    "message_start",
    message={
        "id": "msg_1",
        "model": "claude-x",
        "usage": {"input_tokens": 7, "cache_read_input_tokens": 90, "output_tokens": 1},
    },
)
TEXT = [
    named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    named("ping"),
    named(
        "content_block_delta", index=0, delta={"type": "text_delta", "text": 'a "message_stop" b'}
    ),
    named("content_block_delta", index=0, delta={"type": "text_delta", "text": " — ü"}),
    named("content_block_stop", index=0),
]
END = [
    named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12}),
    named("message_stop"),
]


@given(st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cut_gives_the_same_bytes_and_facts(cuts: list[int], end: bytes) -> None:
    """Whatever the pieces, what goes out is what came in, and the usage is read once."""
    data = b"".join([START, *TEXT, *END]).replace(b"\n", end)
    stream = MessagesStream()
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    out = [stream.feed(data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    assert b"".join(out) + stream.rest() == data
    assert stream.whole
    assert stream.metered
    assert stream.closing == b""
    assert stream.provider_id == "msg_1"
    assert stream.usage == {"input_tokens": 7, "cache_read_input_tokens": 90, "output_tokens": 12}
    assert stream.text() == 'a "message_stop" b — ü'


def test_a_cut_stream_has_its_prompt_counted_and_is_not_whole() -> None:
    """Before the last count, the usage is the prompt's alone."""
    stream = MessagesStream()
    stream.feed(START + b"".join(TEXT))
    assert not stream.whole
    assert not stream.metered
    assert stream.usage is not None
    assert stream.usage["input_tokens"] == 7


def test_a_finished_stream_without_its_last_event_is_completed() -> None:
    """The end was said; only the event that says so again is missing."""
    stream = MessagesStream()
    stream.feed(START + b"".join(TEXT) + END[0])
    assert stream.whole
    assert b"message_stop" in stream.closing


def test_an_error_event_is_no_end_and_tells_no_secret() -> None:
    """A provider's error after some text breaks the answer; a credential in it is hidden."""
    stream = MessagesStream(secrets=["sk-ant-1"])
    told = error_event({"type": "error", "error": {"type": "x", "message": "no sk-ant-1"}})
    out = stream.feed(START + told)
    assert not stream.whole
    assert stream.error is not None
    assert b"sk-ant-1" not in out
