"""A provider's own word on usage and cost, read from the files it hands out. Pure.

Read here, as each is published:

- OpenAI ``/v1/organization/costs`` and ``/v1/organization/usage/*`` (JSON pages of buckets,
  ``amount.value`` in USD) and the dashboard's CSV of the same (``start_time``,
  ``amount_value``, ``input_tokens``...). Cached tokens stand inside the input count.
  Source: platform.openai.com/docs/api-reference/usage
- Anthropic ``/v1/organizations/cost_report`` (``amount`` in cents, as decimal text) and
  ``/usage_report/messages`` (cache reads and writes beside ``uncached_input_tokens``), and
  the console's CSV of both (``usage_date_utc``, ``cost_usd``, ``usage_input_tokens_no_cache``...).
  Source: platform.claude.com/docs/en/api/admin/cost_report
- A CSV of anybody: ``day`` and any of ``cost_usd``, ``prompt_tokens``, ``completion_tokens``,
  ``account``, ``model``, ``tier``.

A file that breaks off (``has_more``), is not in USD, or whose buckets are longer than a day
is refused: half an invoice must not look like a saving.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.errors import BillingError

FORMATS = ("openai", "anthropic", "generic")
_DAY_S = 86_400
_STANDARD = frozenset({"", "default", "standard", "auto", "message", "false"})


class ExportInvalid(BillingError):
    """A file that is not a whole export of a known shape; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Stated:
    """One row of an export. ``cost_usd`` and the token counts are None where it has none.

    ``prompt_tokens`` include cached and cache-write tokens; ``tier`` is "" for the standard.
    """

    day: date
    account: str | None
    model: str | None
    tier: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Export:
    """A whole export: ``days`` are those it speaks of, also where it has nothing to say."""

    kind: str
    rows: tuple[Stated, ...]
    days: tuple[date, ...]
    source: str
    """SHA-256 of the file, hex."""

    @property
    def has_cost(self) -> bool:
        """Whether it says costs."""
        return any(row.cost_usd is not None for row in self.rows)

    @property
    def has_tokens(self) -> bool:
        """Whether it says tokens."""
        return any(row.prompt_tokens is not None for row in self.rows)


def read_export(raw: bytes, kind: str = "auto") -> Export:
    """An export as rows by day.

    Args:
        kind: one of ``FORMATS``, or ``auto`` to tell by its columns.

    Raises:
        ExportInvalid: not such a file, or not a whole one.
    """
    if kind not in (*FORMATS, "auto"):
        raise ExportInvalid(f"no format {kind!r}: choose auto, {', '.join(FORMATS)}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ExportInvalid("the file is not UTF-8 text") from None
    if text.lstrip()[:1] in ("{", "["):
        found, rows, days = _of_json(text)
    else:
        found, rows, days = _of_csv(text)
    if kind not in ("auto", found):
        raise ExportInvalid(f"this is an export of kind {found}, not {kind}")
    if not days:
        raise ExportInvalid("the file names no day")
    whole = {min(days) + timedelta(n) for n in range((max(days) - min(days)).days + 1)}
    return Export(found, tuple(rows), tuple(sorted(whole)), hashlib.sha256(raw).hexdigest())


def _of_json(text: str) -> tuple[str, list[Stated], set[date]]:
    kind, rows, days = "", [], set()
    for page in _pages(text):
        if page.get("has_more"):
            raise ExportInvalid("the export says `has_more`: fetch the remaining pages, too")
        for bucket in page.get("data") or ():
            ours = "anthropic" if "starting_at" in bucket else "openai"
            if kind not in ("", ours) or not isinstance(bucket.get("results"), list):
                raise ExportInvalid("the pages are not buckets of one provider with `results`")
            kind, day = ours, _bucket_day(bucket)
            days.add(day)
            read = _anthropic_result if ours == "anthropic" else _openai_result
            rows += [read(day, result) for result in bucket["results"]]
    return kind, rows, days


def _pages(text: str) -> list[dict[str, Any]]:
    """The pages of a JSON document, a list of them, or one a line."""
    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError:
        try:
            lines = [line for line in text.splitlines() if line.strip()]
            found = [json.loads(line, parse_float=Decimal) for line in lines]
        except ValueError:
            raise ExportInvalid("the file is neither JSON nor JSON lines") from None
    pages = found if isinstance(found, list) else [found]
    if not all(isinstance(page, dict) and isinstance(page.get("data"), list) for page in pages):
        raise ExportInvalid("no pages with `data`: save the provider's answers as they came")
    if not all(isinstance(bucket, dict) for page in pages for bucket in page["data"]):
        raise ExportInvalid("`data` must hold buckets")
    return pages


def _bucket_day(bucket: Mapping[str, Any]) -> date:
    """The UTC day of a bucket that lies within one."""
    first = _moment(bucket.get("start_time", bucket.get("starting_at")))
    last = _moment(bucket.get("end_time", bucket.get("ending_at")))
    if (last - timedelta(microseconds=1)).date() != first.date():
        raise ExportInvalid(f"the bucket from {first} is longer than a day: ask for daily buckets")
    return first.date()


def _moment(value: object) -> datetime:
    """Unix seconds or ISO text as UTC."""
    try:
        if isinstance(value, str) and not value.isdigit():
            moment = datetime.fromisoformat(value)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(int(str(value)), UTC)
    except (ValueError, OverflowError, OSError):
        raise ExportInvalid(f"{str(value)[:40]!r} is no time") from None


def _openai_result(day: date, row: Mapping[str, Any]) -> Stated:
    if "amount" in row or str(row.get("object", "")).endswith("costs.result"):
        amount = row.get("amount") or {}
        _only_usd(amount.get("currency", "usd"))
        model = row.get("line_item")
        cost = _number(amount.get("value", 0), "amount.value")
        return Stated(day, None, _line_item(model), "", None, None, cost)
    return _openai_usage(day, row)


def _openai_usage(day: date, row: Mapping[str, Any]) -> Stated:
    """Cached tokens are inside ``input_tokens``; audio and images stand beside the text."""
    tier = "batch" if str(row.get("batch")).lower() == "true" else _tier(row.get("service_tier"))
    prompt = _count(row, "input_tokens")
    completion = _count(row, "output_tokens")
    return Stated(day, None, row.get("model") or None, tier, prompt, completion, None)


def _line_item(name: object) -> str | None:
    """``gpt-6-luna, input`` names its model before the comma."""
    return str(name).split(",")[0].strip() or None if name else None


def _anthropic_result(day: date, row: Mapping[str, Any]) -> Stated:
    model, tier = row.get("model") or None, _tier(row.get("service_tier"))
    if "amount" in row:
        _only_usd(row.get("currency", "USD"))
        cents = _number(row["amount"], "amount")
        return Stated(day, None, model, tier, None, None, cents / 100)
    written = row.get("cache_creation") or {}
    prompt = (
        _count(row, "uncached_input_tokens")
        + _count(row, "cache_read_input_tokens")
        + _count(written, "ephemeral_5m_input_tokens")
        + _count(written, "ephemeral_1h_input_tokens")
    )
    return Stated(day, None, model, tier, prompt, _count(row, "output_tokens"), None)


def _of_csv(text: str) -> tuple[str, list[Stated], set[date]]:
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in head else ",")
    columns = set(reader.fieldnames or ())
    read, kind = _csv_kind(columns)
    rows = list(_read_rows(reader, read))
    return (
        kind,
        [row for row in rows if row.cost_usd is not None or row.prompt_tokens is not None],
        {row.day for row in rows},
    )


def _csv_kind(columns: set[str]) -> tuple[Any, str]:
    if {"start_time", "amount_value"} <= columns:
        return _openai_cost_csv, "openai"
    if {"start_time", "input_tokens"} <= columns:
        return _openai_usage_csv, "openai"
    if {"usage_date_utc", "cost_usd"} <= columns:
        return _anthropic_cost_csv, "anthropic"
    if {"usage_date_utc", "usage_output_tokens"} <= columns:
        return _anthropic_usage_csv, "anthropic"
    if "day" in columns and columns & {"cost_usd", "prompt_tokens"}:
        return _generic_csv, "generic"
    raise ExportInvalid(
        "the columns are of no known export; a CSV of your own needs `day` and `cost_usd` or "
        "`prompt_tokens`, and may have `completion_tokens`, `account`, `model`, `tier`"
    )


def _read_rows(reader: Iterable[Mapping[str, str]], read: Any) -> Iterator[Stated]:
    for number, row in enumerate(reader, 2):
        try:
            yield read({name: (value or "").strip() for name, value in row.items() if name})
        except ExportInvalid as error:
            raise ExportInvalid(f"line {number}: {error}") from None


def _openai_cost_csv(row: Mapping[str, str]) -> Stated:
    day = _bucket_day(row)
    if not row["amount_value"]:
        return Stated(day, None, None, "", None, None, None)
    _only_usd(row.get("amount_currency") or "usd")
    cost = _number(row["amount_value"], "amount_value")
    return Stated(day, None, _line_item(row.get("line_item")), "", None, None, cost)


def _openai_usage_csv(row: Mapping[str, str]) -> Stated:
    if not row["input_tokens"]:
        return Stated(_bucket_day(row), None, None, "", None, None, None)
    return _openai_usage(_bucket_day(row), row)


def _anthropic_cost_csv(row: Mapping[str, str]) -> Stated:
    cost = _number(row["cost_usd"], "cost_usd")
    tier = _tier(row.get("usage_type"))
    return Stated(
        _day(row["usage_date_utc"]), None, row.get("model") or None, tier, None, None, cost
    )


def _anthropic_usage_csv(row: Mapping[str, str]) -> Stated:
    inside = ("no_cache", "cache_write_5m", "cache_write_1h", "cache_read")
    prompt = sum(_count(row, f"usage_input_tokens_{name}") for name in inside)
    return Stated(
        _day(row["usage_date_utc"]),
        None,
        row.get("model_version") or row.get("model") or None,
        _tier(row.get("usage_type")),
        prompt,
        _count(row, "usage_output_tokens"),
        None,
    )


def _generic_csv(row: Mapping[str, str]) -> Stated:
    tokens = bool(row.get("prompt_tokens"))
    return Stated(
        _day(row["day"]),
        row.get("account") or None,
        row.get("model") or None,
        _tier(row.get("tier")),
        _count(row, "prompt_tokens") if tokens else None,
        _count(row, "completion_tokens") if tokens else None,
        _number(row["cost_usd"], "cost_usd") if row.get("cost_usd") else None,
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ExportInvalid(f"{text[:40]!r} is no day: write 2026-11-21") from None


def _tier(value: object) -> str:
    name = str(value or "").lower()
    return "" if name in _STANDARD else name


def _count(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name) or 0
    number = _number(value, name)
    if number != int(number) or number < 0:
        raise ExportInvalid(f"{name} is {value!s:.40}, not a count of tokens")
    return int(number)


def _number(value: object, name: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ExportInvalid(f"{name} is {str(value)[:40]!r}, not a number") from None
    if not number.is_finite() or number.adjusted() > 18:
        raise ExportInvalid(f"{name} is {str(value)[:40]!r}, not an amount")
    return number


def _only_usd(currency: object) -> None:
    if str(currency).lower() != "usd":
        raise ExportInvalid(f"amounts are in {str(currency)[:8]!r}: only USD can be compared")
