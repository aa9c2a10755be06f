"""OpenAI's chat wire, as far as a local text model can speak it: JSON to ``Ask`` and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from engine import Ask, CannotServe

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
TOOL_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
STOPS = 4


def parse_ask(body: Any) -> Ask:
    """The request in ``body``.

    Raises:
        CannotServe: it is no chat completion request, or asks for what is not there.
    """
    if not isinstance(body, dict):
        raise CannotServe("the body must be a JSON object")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise CannotServe("messages must be a list of at least one message")
    if body.get("n") not in (None, 1):
        raise CannotServe(f"n must be 1 here, not {body['n']!r}")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise CannotServe(f"max_tokens must be an integer of at least 1, not {limit!r}")
    tools = body.get("tools") if body.get("tool_choice") != "none" else None
    if tools is not None and not isinstance(tools, list):
        raise CannotServe("tools must be a list")
    return Ask(
        messages=[_message(at, message) for at, message in enumerate(messages)],
        tools=tools or (),
        max_tokens=limit,
        temperature=_number(body, "temperature", 1.0, 2.0),
        top_p=_number(body, "top_p", 1.0, 1.0) or 1e-6,
        seed=_seed(body.get("seed")),
        stop=_stops(body.get("stop")),
    )


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream's client asked for the usage chunk."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def assistant_message(text: str, *, tools: bool, request_id: str) -> tuple[dict[str, Any], bool]:
    """The reply as a message, and whether it calls tools."""
    calls = _tool_calls(text, request_id) if tools else []
    if not calls:
        return {"role": "assistant", "content": text}, False
    said = TOOL_CALL.sub("", text).strip()
    return {"role": "assistant", "content": said or None, "tool_calls": calls}, True


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _message(at: int, message: Any) -> dict[str, Any]:
    """One message as a chat template reads it: content as text."""
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise CannotServe(f"messages[{at}] must be an object with a role of {sorted(ROLES)}")
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(_text_part(at, part) for part in content)
    if content is None and message["role"] == "assistant":
        content = ""
    if not isinstance(content, str):
        raise CannotServe(f"messages[{at}].content must be text or a list of text parts")
    plain = {**message, "content": content}
    if plain["role"] == "developer":
        plain["role"] = "system"
    if plain.get("tool_calls"):
        plain["tool_calls"] = [_with_object(at, call) for call in plain["tool_calls"]]
    return plain


def _text_part(at: int, part: Any) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise CannotServe(f"messages[{at}] has a part of type {kind!r}; this model reads text only")


def _with_object(at: int, call: Any) -> dict[str, Any]:
    """A tool call with its arguments as an object, which is what templates expect."""
    try:
        function = dict(call["function"])
        if isinstance(function["arguments"], str):
            function["arguments"] = json.loads(function["arguments"] or "{}")
    except (KeyError, TypeError, ValueError) as error:
        raise CannotServe(f"messages[{at}] has a tool call that is not one: {error}") from error
    return {**call, "function": function}


def _number(body: Mapping[str, Any], key: str, default: float, highest: float) -> float:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= highest:
        raise CannotServe(f"{key} must be a number from 0 to {highest:g}, not {value!r}")
    return float(value)


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise CannotServe(f"seed must be an integer, not {value!r}")
    return value % 2**63


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value if value is not None else []
    if (
        not isinstance(stops, list)
        or len(stops) > STOPS
        or not all(isinstance(stop, str) for stop in stops)
    ):
        raise CannotServe(f"stop must be a string or a list of at most {STOPS} strings")
    return tuple(stops)


def _tool_calls(text: str, request_id: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for match in TOOL_CALL.finditer(text):
        try:
            call = json.loads(match.group(1))
            function = {"name": str(call["name"]), "arguments": json.dumps(call["arguments"])}
        except (KeyError, ValueError):
            continue
        name = f"call_{request_id}_{len(calls)}"
        calls.append({"id": name, "type": "function", "function": function})
    return calls
