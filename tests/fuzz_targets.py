"""What reads bytes that others chose, each with the promise that no bytes break it.

`make fuzz` runs them under atheris, guided by coverage (fuzz_run.py); the suite runs the
same targets on seeds that are bent at random (test_fuzz_targets.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import orjson

from billing.errors import UsageInvalid
from billing.usage import Usage
from compressor.lossless import (
    Literal,
    blocks,
    columns,
    templates,
    unpack_blocks,
    unpack_columns,
    unpack_templates,
)
from gateway import headers
from gateway.batch_rows import ended
from gateway.errors import ConfigError, InvalidRequest
from gateway.exchange import ClientHeaders
from gateway.settings import parse
from gateway.stream import EventTooLarge
from gateway.wire.registry import WIRES

Target = Callable[[bytes], None]
_NONE = ClientHeaders()
_SECRET = "sk-secret-of-the-provider"


def requests(data: bytes) -> None:
    """A body is read or refused, on every wire; what was read is what will be sent."""
    for wire in WIRES.values():
        try:
            request = wire.parse(data, _NONE)
        except InvalidRequest as refused:
            _says_something(refused)
            continue
        assert request.raw == data
        assert isinstance(request.body, Mapping)
        assert len(request.conversation.messages) <= len(data)


def events(data: bytes) -> None:
    """A stream cut anywhere gives the same bytes and facts, and never a credential."""
    cut = data[0] if data else 0
    body = data[1:]
    for wire in WIRES.values():
        if not wire.streams:
            continue
        seen = []
        for step in (len(body) or 1, cut + 1, 1):
            reader = wire.stream(hide_usage=bool(cut & 1), choices=1, secrets=(_SECRET,))
            try:
                out = b"".join(reader.feed(body[i : i + step]) for i in range(0, len(body), step))
                out += reader.rest()
            except EventTooLarge:
                return
            # Blank lines around an event that was held back say nothing, and may differ.
            lines = [line for line in out.splitlines() if line]
            seen.append((lines, reader.usage, reader.whole, reader.text(), reader.error))
        assert seen[0] == seen[1] == seen[2], wire.name


def heads(data: bytes) -> None:
    """Headers are read or refused, and none of ours is forwarded."""
    raw = [
        (line.partition(b":")[0].strip().lower(), line.partition(b":")[2].strip())
        for line in data.split(b"\n")[:40]
    ]
    try:
        read = headers.read(raw)
    except InvalidRequest as refused:
        _says_something(refused)
        return
    assert read.max_cost_nano is None or read.max_cost_nano >= 0
    assert not any(name.startswith("x-weir") for name in headers.forwarded(raw))


def policies(data: bytes) -> None:
    """A weir.yaml is settings, or an error that says where and what would mend it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        parse(text, "weir.yaml", {})
    except ConfigError as refused:
        _says_something(refused, "weir.yaml")


def reports(data: bytes) -> None:
    """A usage report is disjoint counts of tokens, or refused: never less than nothing."""
    try:
        raw = orjson.loads(data)
    except orjson.JSONDecodeError:
        return
    if not isinstance(raw, dict):
        return
    for wire in WIRES.values():
        try:
            usage = wire.usage(raw)
        except UsageInvalid:
            continue
        assert isinstance(usage, Usage)
        assert usage.billed_tokens == usage.prompt_tokens + usage.completion_tokens
        assert usage.prompt_tokens >= 0
        assert usage.completion_tokens >= 0


def batch_lines(data: bytes) -> None:
    """A line of a provider's batch output is a row's end, or nothing."""
    found = ended(data)
    assert found is None or 0 <= found.status < 600


def lossless(data: bytes) -> None:
    """What is written shorter says the same when it is read again."""
    text = data.decode("utf-8", "replace")
    packed = columns(text)
    if packed is not None:
        assert _spelled(unpack_columns(packed)) == _spelled(_exact(text))
    logged = templates(text)
    if logged is not None:
        assert unpack_templates(logged) == text
    said_once = blocks(text)
    if said_once is not None:
        assert unpack_blocks(said_once) == text


def _says_something(refused: Exception, named: str = "") -> None:
    assert len(str(refused)) > 10
    assert named in str(refused)


def _exact(text: str) -> object:
    return json.loads(text, parse_float=Literal, parse_int=Literal, parse_constant=Literal)


def _spelled(value: object) -> object:
    """The value with each number told from a text that looks like it."""
    if isinstance(value, Literal):
        return ("number", str(value))
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    if isinstance(value, dict):
        return {key: _spelled(each) for key, each in value.items()}
    return value


TARGETS: Mapping[str, Target] = {
    each.__name__: each
    for each in (requests, events, heads, policies, reports, batch_lines, lossless)
}
CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}'
SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "requests": (
        CHAT,
        (
            b'{"model":"m","max_tokens":9,"system":[{"type":"text","text":"s"}],"messages":[{"role":'
            b'"user","content":[{"type":"tool_result","tool_use_id":"t","content":"r"}]}]}'
        ),
        (
            b'{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}'
            b',{"type":"reasoning","id":"r","summary":[]}],"previous_response_id":"p"}'
        ),
        b'{"model":"m","prompt":["a",[1,2]],"n":2,"stream":true,"stream_options":{}}',
    ),
    "events": (
        b'\x07data: {"id":"a","choices":[{"delta":{"content":"h\xc3\xa4"}}]}\n\ndata: [DONE]\n\n',
        (
            b'\x03event: message_delta\r\ndata: {"type":"message_delta","usage":{"output_tokens":5'
            b"}}\r\n\r\nevent: message_stop\r\ndata: {}\r\n\r\n"
        ),
        b'\x01: comment\n\ndata: {"error":{"message":"sk-secret-of-the-provider"}}\n\n',
        b'\x02data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',
    ),
    "heads": (
        b"authorization: Bearer weir-x\nx-weir-fit: trim\nx-weir-max-cost-usd: 0.5\n",
        b"x-weir-tags: a=b,c=d\nx-weir-session: s\ncontent-length: 12\nanthropic-beta: x",
    ),
    "policies": (
        b"upstreams: { p: { kind: openai } }\nmodels: { m: { upstream: p, free: true } }\n"
        b"teams: { t: { budget: [10 per month, 1 per day], keys: [k] } }\n"
        b"keys: { k: sha256:" + b"1" * 64 + b" }\n",
        b"ladders: { l: { 80%: [notify], pace 130%: { route: small } } }\nat: l\n",
    ),
    "reports": (
        b'{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}',
        b'{"input_tokens":9,"output_tokens":3,"cache_creation":{"ephemeral_5m_input_tokens":2}}',
    ),
    "batch_lines": (
        b'{"custom_id":"a","response":{"status_code":200,"body":{"usage":{"prompt_tokens":1}}}}',
        b'{"custom_id":"a","result":{"type":"succeeded","message":{"usage":{"input_tokens":1}}}}',
    ),
    "lossless": (
        b'[{"id":1,"name":"a","x":{"y":[1,2]}},{"id":2,"name":"b","x":{"y":[3]}},{"id":3}]',
        b"12:00:01 INFO took 3 ms\n12:00:02 INFO took 5 ms\n12:00:03 INFO took 9 ms\n" * 4,
        b"one line that is long enough to matter\nand another one beside it\n" * 6,
    ),
}
