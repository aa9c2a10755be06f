"""One request of a log, whatever wrote the log: what was asked, what came back, what it used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from billing.errors import UsageInvalid
from billing.money import nano
from billing.receipt import ms_of
from billing.usage import Usage, chat_usage, estimated, messages_usage, responses_usage

Record = Mapping[str, Any]
_EARLIEST_MS = 1_546_300_800_000  # 2019: nobody sold a request by the token before
_LONGEST = 80
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class BadRecordError(Exception):
    """A record that no reader understands; the message says why, never what it holds."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A past request; texts only in ``body``, which never leaves the process that judges it.

    ``model`` is the name asked for, ``served`` what answered, ``provider`` the price book's
    name or "". ``body`` is the chat request, None where the log keeps only counts; ``usage``
    None where it keeps none. ``recorded_nano`` is the cost by the log itself. ``failed``: no
    answer came. ``from_cache``: the log's own gateway answered, no provider was asked.
    """

    id: str
    at_ms: int | None
    team: str
    model: str
    served: str
    provider: str
    body: Record | None
    usage: Usage | None
    recorded_nano: int | None = None
    failed: bool = False
    from_cache: bool = False
    chat: bool = True


def label(value: object) -> str:
    """A name as a report may show it: short, one line, and no formula in a spreadsheet."""
    if value is None or isinstance(value, dict | list):
        return ""
    text = str(value)[:_LONGEST].strip()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text).strip()
    return "'" + text if text.startswith(_FORMULA) else text


def mapping(value: object) -> Record:
    """An object, also where a log keeps it as JSON text; empty for anything else."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        value = loaded(value)
    return value if isinstance(value, Mapping) else {}


def loaded(value: object) -> object:
    """A value that may stand as JSON text."""
    if isinstance(value, str) and value.strip()[:1] in {"{", "["}:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def first(record: Record, *names: str) -> Any:
    """The first value that is there and not empty."""
    for name in names:
        value = record.get(name)
        if value is not None and value not in ("", "None", "null"):
            return value
    return None


def instant(value: object) -> int | None:
    """UTC epoch ms of ISO text (UTC where it names no offset), seconds or milliseconds."""
    if isinstance(value, str):
        text = value.strip().replace(" UTC", "Z").replace(" ", "T", 1)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            return _number_instant(text)
        return ms_of(found.isoformat() if found.tzinfo else found.replace(tzinfo=UTC).isoformat())
    return _number_instant(value)


def _number_instant(value: object) -> int | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    ms = number if number > 1e11 else number * 1000
    return int(ms) if _EARLIEST_MS <= ms < 1e14 else None


def count(value: object) -> int | None:
    """A token count, also as text or as a whole float; None for anything else."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if 0 <= number < 1e9 and number == int(number) else None


def dollars(value: object) -> int | None:
    """USD of a log as nano-USD; None where there is no such figure."""
    if value is None or isinstance(value, bool | dict | list):
        return None
    try:
        return nano(Decimal(str(value)).quantize(Decimal("1e-9")))
    except (InvalidOperation, ValueError):
        return None


def counted(prompt: object, completion: object, cached: object = None) -> Usage | None:
    """Counts of a log as a usage, cached tokens inside the prompt; None without any count."""
    whole, output = count(prompt), count(completion)
    if whole is None and output is None:
        return None
    read = min(count(cached) or 0, whole or 0)
    return Usage(
        input_tokens=(whole or 0) - read, cache_read_tokens=read, output_tokens=output or 0
    )


def reported(raw: object) -> Usage | None:
    """A provider's own usage object of any wire, or None where it cannot be read."""
    report = mapping(raw)
    if not report:
        return None
    try:
        if "input_tokens" in report and (
            "cache_read_input_tokens" in report
            or "cache_creation_input_tokens" in report
            or "total_tokens" not in report
        ):
            return messages_usage(report)
        if "input_tokens" in report:
            return responses_usage(report)
        if "prompt_tokens" in report or "total_tokens" in report:
            return chat_usage(report)
    except UsageInvalid:
        prompt = count(first(report, "prompt_tokens", "input_tokens"))
        output = count(first(report, "completion_tokens", "output_tokens"))
        return estimated(prompt, output or 0) if prompt is not None else None
    return None


def chat_body(value: object, model: str, more: Record | None = None) -> Record | None:
    """A chat request from a body, a list of messages or a bare prompt; None where it is none."""
    value = loaded(value)
    if isinstance(value, str) and value:
        value = [{"role": "user", "content": value}]
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, Mapping):
        return None
    messages = value.get("messages", value.get("input"))
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not messages:
        return None
    rest = {k: v for k, v in value.items() if k not in {"messages", "input", "system"}}
    return {
        **(more or {}),
        **rest,
        "model": value.get("model") or model,
        "messages": [*_system(value), *messages],
    }


def _system(body: Record) -> list[Record]:
    """Anthropic's top-level system prompt, or the responses wire's instructions."""
    said = body.get("system") or body.get("instructions")
    return [{"role": "system", "content": said}] if said else []
