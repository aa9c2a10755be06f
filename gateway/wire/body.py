"""Request bytes in, request bytes out: parse once, change as little as possible.

The bytes that were checked are the bytes that are sent. When only a top-level scalar
changes, it is spliced into the client's own bytes, so unknown fields and key order survive.
When a text changes, the body is written again from a parse that keeps the spelling of
every number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from compressor.conversation import Path
from compressor.recipe import Edit
from gateway.errors import InvalidRequest

MAX_DEPTH = 64
# Keys the gateway reads at the top level or may set there.
_SET_KEY = re.compile(rb'"(?:model|stream|stream_options|max_tokens|max_completion_tokens)"')
# A string, or a bracket: all that it takes to find the top level of sound JSON.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_SCALAR = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[^\s,{}\[\]"]+', re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_QUOTE = ord('"')
# An ASCII letter or underscore written as an escape: part of a key in disguise, perhaps.
_ESCAPED_ASCII = re.compile(rb"\\u00(?:4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])")


def load(raw: bytes) -> dict[str, Any]:
    """The body as a dict, or InvalidRequest saying where it is not one.

    Raises:
        InvalidRequest: empty, not JSON (NaN and invalid UTF-8 included), not an object,
            or nested deeper than 64 levels.
    """
    if not raw.strip():
        raise InvalidRequest("the request body is empty; send a JSON object")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(
            f"the request body is not valid JSON: {error.msg} at byte {error.pos}; "
            "send one JSON object in UTF-8",
            code="invalid_json",
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequest(
            f"the request body is a JSON {_json_type(body)}, not an object", code="invalid_json"
        )
    # A deep value needs as many brackets as levels, so most bodies skip the walk.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _check_depth(body)
    return body


def _check_depth(body: object) -> None:
    level: list[Any] = [body]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return
    raise InvalidRequest(
        f"the request body is nested deeper than {MAX_DEPTH} levels", code="too_deep"
    )


def _containers(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, dict | list)]


def _json_type(value: object) -> str:
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")


def spliceable(raw: bytes) -> bool:
    """Whether each key the gateway may set occurs at most once in the bytes.

    A raw ``"key"`` cannot stand inside a JSON string (its quotes would be escaped), so a
    count of one is the top-level key itself or nothing. A key may also be spelled with
    escaped letters; nobody needs that, so such a body is never edited in place.
    """
    # One pass for all keys (a count for each takes five times as long), and a look for the
    # backslash before one for the escape: half a megabyte without either costs 0.2 ms, not 1.1.
    if b"\\" in raw and b"\\u00" in raw and _ESCAPED_ASCII.search(raw):
        return False
    found = _SET_KEY.findall(raw)
    return len(found) == len(set(found))


def check_duplicates(raw: bytes) -> None:
    """Refuse a body whose top-level keys repeat: readers would disagree on its meaning.

    Raises:
        InvalidRequest: naming the repeated key.
    """
    places(raw)


def check_every_object(raw: bytes) -> None:
    """Refuse JSON in which any object names a key twice; some five times as slow as reading it.

    Raises:
        InvalidRequest: naming the repeated key.
    """

    def unique(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidRequest(
                    f"the key {key[:64]!r} occurs twice in an object; send it once",
                    param=key[:64],
                    code="duplicate_key",
                )
            seen.add(key)

    json.loads(raw, object_pairs_hook=unique)


def places(raw: bytes) -> dict[str, tuple[int, int]]:
    """Where each top-level value stands in the bytes of a JSON object: start and end.

    Raises:
        InvalidRequest: naming a key that repeats, however it is spelled.
    """
    found: dict[str, tuple[int, int]] = {}
    depth, key, start = 0, "", 0
    for match in _TOKEN.finditer(raw):
        mark = raw[match.start()]
        if mark == _QUOTE:
            if depth == 1 and _opens_key(raw, match.start()):
                key = _new_key(match.group(), found)
                start = _value_start(raw, match.end())
                scalar = _SCALAR.match(raw, start)
                found[key] = (start, scalar.end() if scalar else start)
        elif mark in b"{[":
            depth += 1
        else:
            depth -= 1
            if depth == 1:  # the value that began at ``start`` ends here
                found[key] = (start, match.end())
    return found


def _opens_key(raw: bytes, start: int) -> bool:
    """Whether the string at ``start`` is a key: what stands before it is `{` or `,`."""
    at = start - 1
    while raw[at] in b" \t\r\n":
        at -= 1
    return raw[at] in b"{,"


def _new_key(text: bytes, found: Mapping[str, tuple[int, int]]) -> str:
    key: str = orjson.loads(text)
    if key in found:
        raise InvalidRequest(
            f"the key {key[:64]!r} occurs twice in the request body; send it once",
            param=key[:64],
            code="duplicate_key",
        )
    return key


def _value_start(raw: bytes, end: int) -> int:
    """Offset of the value behind a key that ends at ``end``."""
    after = _COLON.match(raw, end)
    return after.end() if after else end


def with_values(raw: bytes, values: Mapping[str, Any]) -> bytes:
    """The same bytes with top-level ``values`` set, wherever such names occur deeper down."""
    known = places(raw)
    fresh = {key: value for key, value in values.items() if key not in known}
    spans = sorted((known[key], key) for key in values if key in known)
    for (start, end), key in reversed(spans):
        raw = raw[:start] + orjson.dumps(values[key]) + raw[end:]
    return with_scalars(raw, {}, fresh) if fresh else raw


def with_scalars(raw: bytes, body: Mapping[str, Any], values: Mapping[str, Any]) -> bytes:
    """The same bytes with top-level ``values`` set; nothing else moves.

    Needs ``spliceable(raw)``. Existing scalars are replaced in place, new keys go first.
    """
    added: list[bytes] = []
    for key, value in values.items():
        if key in body:
            replaced = _replace_scalar(raw, key, body[key], value)
            if replaced is None:
                return with_edits(raw, (), values)
            raw = replaced
        else:
            added.append(b"%b:%b" % (orjson.dumps(key), orjson.dumps(value)))
    if added:
        start = raw.index(b"{") + 1
        rest = raw[start:]
        comma = b"" if rest.lstrip().startswith(b"}") else b","
        raw = raw[:start] + b",".join(added) + comma + rest
    return raw


def _replace_scalar(raw: bytes, key: str, old: object, new: object) -> bytes | None:
    """The bytes with one value replaced; None where its place is not certain."""
    if isinstance(old, dict):
        # Only stream_options is ever an object here: rebuilt with its own members kept.
        value = rb"\{[^{}]*\}"
    elif isinstance(old, str):
        value = rb'"(?:[^"\\]|\\.)*"'
    else:
        value = rb"[^\s,}\]]+"
    found = re.search(rb'"%b"\s*:\s*(%b)' % (key.encode(), value), raw)
    if found is None or _read(found.group(1)) != old:
        return None
    return raw[: found.start(1)] + orjson.dumps(new) + raw[found.end(1) :]


def _read(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def with_edits(raw: bytes, edits: Sequence[Edit], values: Mapping[str, Any]) -> bytes:
    """The body written again with the texts at the edits' paths replaced.

    Every number keeps its spelling: it is carried over as text, never as a value.
    """
    body = json.loads(raw, parse_int=_spelled, parse_float=_spelled)
    for edit in edits:
        _set_path(body, edit.path, edit.text)
    body.update(values)
    return orjson.dumps(body)


def _spelled(text: str) -> orjson.Fragment:
    return orjson.Fragment(text)


def _set_path(body: Any, path: Path, text: str) -> None:
    for step in path[:-1]:
        body = body[step]
    if not isinstance(body[path[-1]], str):
        message = f"no text at {path!r}"
        raise TypeError(message)
    body[path[-1]] = text
