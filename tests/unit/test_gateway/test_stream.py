"""Event streams: bytes out as they came, the same facts however TCP cut them."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.stream import MAX_EVENT_BYTES, EventTooLarge
from gateway.wire.chat_stream import ChatStream, delivered_text, error_event

ENDS = (b"\n", b"\r\n", b"\r")


def chunk(text: str | None, finish: str | None = None, index: int = 0) -> bytes:
    """One chat chunk as a provider sends it."""
    delta = {} if text is None else {"content": text}
    return orjson.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": "gpt-6-luna-2026",
            "service_tier": "flex",
            "choices": [{"index": index, "delta": delta, "finish_reason": finish}],
        }
    )


USAGE = orjson.dumps(
    {"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
)


def events(*payloads: bytes, end: bytes = b"\n") -> bytes:
    """Payloads as events with one kind of line end."""
    return b"".join(b"data: " + payload + end + end for payload in payloads)


def run(
    data: bytes, cuts: list[int], *, hide: bool = True, choices: int = 1
) -> tuple[bytes, ChatStream]:
    """The output and the state after feeding ``data`` cut at ``cuts``."""
    stream = ChatStream(hide_usage=hide, choices=choices)
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    out = []
    for start, stop in zip([0, *places], [*places, len(data)], strict=True):
        out.append(stream.feed(data[start:stop]))
    out.append(stream.rest())
    return b"".join(out), stream


def facts(stream: ChatStream) -> tuple[object, ...]:
    """All that a stream told."""
    return (
        stream.usage, stream.model, stream.provider_id, stream.service_tier, stream.finishes,
        stream.done, stream.error, stream.events, delivered_text(stream.kept),
    )  # fmt: skip


lines = st.sampled_from(
    [
        b"data: " + chunk("Hello"),
        b"data: " + chunk("w\u00f6rld \u2603"),
        b"data:" + chunk(None, "stop"),
        b"data: " + USAGE,
        b'data: {"error":{"message":"no","code":"x"}}',
        b'data: {"choices":7,"usage":{"prompt_tokens":-1}}',
        b"data: [DONE]", b": keep-alive", b"event: ping", b"id: 7", b"retry: 10",
        b"data: {", b"data: }", b"data", b"<html>oops</html>", b"", b"", b"", b"\xff\xfe",
    ]
)  # fmt: skip
wires = st.lists(st.tuples(lines, st.sampled_from(ENDS)), max_size=24).map(
    lambda rows: b"".join(line + end for line, end in rows)
)
splits = st.lists(st.integers(0, 4000), max_size=12)


@given(wire=wires, cuts=splits, hide=st.booleans())
def test_any_split_gives_the_same_bytes_and_the_same_facts(
    wire: bytes, cuts: list[int], hide: bool
) -> None:
    """However TCP cuts a stream, the client gets the same bytes and the gateway the same facts."""
    whole, at_once = run(wire, [], hide=hide)
    pieces, in_parts = run(wire, cuts, hide=hide)
    assert pieces == whole
    assert facts(in_parts) == facts(at_once)


@given(wire=wires, cuts=splits)
def test_a_client_that_asked_for_usage_gets_every_byte_as_it_came(
    wire: bytes, cuts: list[int]
) -> None:
    """Without a usage event to hide, the output is the input."""
    assert run(wire, cuts, hide=False)[0] == wire


@given(junk=st.binary(max_size=300), cuts=splits)
def test_no_bytes_make_the_reader_fail_or_lose_anything(junk: bytes, cuts: list[int]) -> None:
    """Any bytes at all pass through and raise nothing."""
    out, stream = run(junk, cuts, hide=False)
    assert out == junk
    delivered_text(stream.kept)


@pytest.mark.parametrize("end", ENDS)
def test_only_the_usage_event_that_was_not_asked_for_is_held_back(end: bytes) -> None:
    """A client that did not ask sees every event but the usage event, in any line ends."""
    wire = events(chunk("a"), chunk(None, "stop"), USAGE, b"[DONE]", end=end)
    out, stream = run(wire, list(range(0, len(wire), 7)))
    assert out == wire.replace(b"data: " + USAGE + end + end, b"")
    assert stream.usage == {"prompt_tokens": 7, "completion_tokens": 3}
    assert (stream.model, stream.provider_id, stream.service_tier) == (
        "gpt-6-luna-2026",
        "chatcmpl-1",
        "flex",
    )
    assert stream.whole


def test_usage_beside_a_choice_is_never_held_back() -> None:
    """A chunk that carries text as well as usage reaches the client."""
    both = orjson.dumps({"id": "1", "choices": [{"delta": {"content": "x"}}], "usage": {"a": 1}})
    wire = events(both, chunk(None, "stop"))
    assert run(wire, [])[0] == wire


def test_mixed_line_ends_make_one_blank_line() -> None:
    """CRLF followed by a lone CR or LF is a blank line, CRLF alone is not."""
    wire = b"data: " + chunk("a") + b"\r\n\rdata: " + USAGE + b"\r\n\ndata: [DONE]\n\r\n"
    out, stream = run(wire, list(range(len(wire))))
    assert b'"usage"' not in out
    assert stream.events == 3
    assert stream.done


def test_an_answer_that_quotes_the_end_mark_has_not_ended() -> None:
    """Only a line of its own says `[DONE]`; a model that writes the word does not end itself."""
    _, stream = run(events(chunk("data: [DONE]"), chunk("[DONE]")), [])
    assert not stream.done
    assert not stream.whole


def test_a_word_of_an_answer_is_no_finish_reason() -> None:
    """A model that writes about finish reasons, errors or usage changes no fact."""
    said = '{"finish_reason": "stop", "error": {"a": 1}, "usage": {"prompt_tokens": 9}}'
    _, stream = run(events(chunk(said)), [])
    assert (stream.finished, stream.error, stream.usage) == (False, None, None)


def test_two_choices_must_both_finish() -> None:
    """With n=2 a stream that ends after one choice's end is not whole."""
    half = events(chunk("a", None, 0), chunk("b", None, 1), chunk(None, "stop", 0))
    assert not run(half, [], choices=2)[1].whole
    assert run(half + events(chunk(None, "length", 1)), [], choices=2)[1].whole


def test_an_error_event_is_noted_and_passed_on() -> None:
    """A provider's error inside a stream is kept, and such a stream is not whole."""
    wire = events(chunk("a"), b'{"error":{"message":"overloaded","code":"x"}}', b"[DONE]")
    out, stream = run(wire, [])
    assert out == wire
    assert stream.error == {"message": "overloaded", "code": "x"}
    assert not stream.whole


def test_the_last_usage_report_wins() -> None:
    """A provider that reports usage on every chunk is billed by its last report."""
    first = orjson.dumps({"id": "1", "choices": [{"delta": {}}], "usage": {"completion_tokens": 1}})
    last = orjson.dumps({"id": "1", "choices": [{"delta": {}}], "usage": {"completion_tokens": 9}})
    assert run(events(first, last), [])[1].usage == {"completion_tokens": 9}


@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_an_error_event_never_repeats_a_credential(cuts: list[int]) -> None:
    """However TCP cut it, a credential in an error goes out as `***`; elsewhere bytes stay."""
    wire = events(chunk("sk-own"), b'{"error":{"message":"boom sk-own"}}')
    stream = ChatStream(hide_usage=True, secrets=("sk-own", "other"))
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    out = b"".join(stream.feed(wire[a:b]) for a, b in pairwise(edges))
    assert out.endswith(events(b'{"error":{"message":"boom ***"}}'))
    assert b"boom sk-own" not in out
    assert stream.error == {"message": "boom sk-own"}


def test_an_event_without_an_end_is_cut_at_the_limit() -> None:
    """An event that never ends raises once it has grown past 32 MiB, in linear time."""
    stream = ChatStream(hide_usage=True)
    piece = b"data: " + b"x" * 65_536
    for _ in range(MAX_EVENT_BYTES // len(piece)):
        stream.feed(piece)
    with pytest.raises(EventTooLarge):
        stream.feed(piece)


def test_small_pieces_of_a_big_event_cost_linear_time() -> None:
    """An 8 MB event in 1,400-byte pieces is read whole, its usage hidden."""
    big = chunk("y" * 8_000_000)
    wire = events(big, USAGE)
    stream = ChatStream(hide_usage=True)
    out = bytearray()
    for start in range(0, len(wire), 1400):
        out += stream.feed(wire[start : start + 1400])
    assert bytes(out) == events(big)
    assert stream.usage is not None


def test_delivered_text_holds_reasoning_and_tool_arguments() -> None:
    """What a broken stream is charged for is all that the client got."""
    call = {"index": 0, "function": {"name": "look", "arguments": '{"q":1}'}}
    wire = events(
        orjson.dumps({"choices": [{"delta": {"reasoning_content": "hm "}}]}),
        orjson.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}),
        orjson.dumps({"choices": [{"delta": {"content": 7, "tool_calls": "x"}}, None]}),
        orjson.dumps({"choices": {"a": 1}}),
    )
    assert delivered_text([wire]) == 'hm look{"q":1}'


def test_an_error_event_is_one_event_with_a_top_level_error() -> None:
    """The event an SDK raises on has `error` as its top-level key."""
    event = error_event({"error": {"message": "gone"}})
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert orjson.loads(event[6:]) == {"error": {"message": "gone"}}
