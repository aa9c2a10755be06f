"""The ledger for other programs: one row a line, as CSV or Parquet, plain or FOCUS.

Rows are streamed, so any range can be written. Money is exact decimal text in CSV and
decimal numbers of 12 places in Parquet. The billed costs of an export sum to the cost of
the range it covers: a gateway's own cost without lines gets a row of its own, a request
that cost nothing a row of zero, a reconciliation's corrections rows of their own, and savings
are columns, never a credit, so that the sum meets the invoice.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import orjson
import sqlalchemy as sa

from billing.booking import Booked, booked, reconciled
from billing.closing import closed_until
from billing.money import half_even, text_ratio, usd
from billing.reader import LINES, RECEIPTS, reading
from billing.receipt import GATEWAY, HELD, HELD_RATE, iso_ms
from billing.reports import Scope

_AT_ONCE = 2000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLION = 1_000_000
_TOOL = "tool_call:"
CORRECTION = "correction:"
"""Prefix of the components of what a reconciliation booked."""

PLAIN = (
    "request_id", "posted_at", "team", "project", "key", "user", "session", "task", "tags",
    "upstream", "requested_model", "served_model", "tier", "action", "arm", "state",
    "usage_source", "attempt", "component", "quantity", "unit_price_usd_per_million",
    "amount_usd", "price_book", "rule", "tokenmaxxed_usd", "effective_tokens",
)  # fmt: skip
FOCUS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency",
    "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass",
    "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart",
    "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "ContractedUnitPrice",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ResourceId",
    "ServiceCategory", "ServiceName", "ServiceProviderName", "ServiceSubcategory", "SkuId",
    "SkuMeter", "SkuPriceDetails", "SkuPriceId", "SubAccountId", "SubAccountName",
    "SubAccountType", "Tags", "x_TokenmaxxedCost", "x_SavingsArm", "x_EffectiveTokens",
    "x_Origin", "x_State",
)  # fmt: skip
_MONEY = frozenset(
    {
        "amount_usd", "unit_price_usd_per_million", "tokenmaxxed_usd", "BilledCost",
        "ContractedCost", "ContractedUnitPrice", "EffectiveCost", "ListCost", "ListUnitPrice",
        "PricingQuantity", "x_TokenmaxxedCost",
    }
)  # fmt: skip
_COUNTS = frozenset({"quantity", "effective_tokens", "ConsumedQuantity", "x_EffectiveTokens"})


@dataclass(frozen=True, slots=True)
class Charge:
    """One line with the receipt it stands on; ``first`` of that receipt or not.

    What belongs to the whole request (tokenmaxxed cost, effective tokens) is shown on its
    first row alone, so that every column can be summed.
    """

    receipt: dict[str, Any]
    posted_ms: int
    attempt: str
    component: str
    quantity: int
    rate: str
    amount_nano: int
    price_book: str
    rule: str
    first: bool

    @property
    def list_rate(self) -> str:
        """The provider's list price, USD per million units; what was charged where they agree."""
        said = (self.receipt.get("decision") or {}).get("list") or {}
        found: str = said.get(self.attempt, {}).get(self.component, self.rate)
        return found

    @property
    def list_nano(self) -> int:
        """What the quantity costs at the list price."""
        if self.list_rate == self.rate:
            return self.amount_nano
        numerator, denominator = text_ratio(self.list_rate)
        return half_even(self.quantity * numerator, denominator)


def charges(url: str, scope: Scope) -> Iterator[Charge]:
    """Every line in scope, by the order in which requests were posted, then every correction.

    The state of a request is as it stands now: closed with its month, reconciled with its
    account and day. Corrections are by range and team alone, so a scope that asks for more
    (``also``) has none.
    """
    until, agreed = closed_until(url), reconciled(url)
    for charge in _lines(url, scope):
        body = charge.receipt
        if charge.posted_ms < until:
            body["state"] = "closed"
        elif (body["upstream"], _day(body["at_ms"])) in agreed:
            body["state"] = "reconciled"
        yield charge
    if not scope.also:
        for row in booked(url, scope):
            yield _correction(row, until)


def _lines(url: str, scope: Scope) -> Iterator[Charge]:
    on = LINES.c.request_id == RECEIPTS.c.request_id
    query = (
        sa.select(RECEIPTS.c.request_id, RECEIPTS.c.posted_ms, RECEIPTS.c.body, *_line_columns())
        .select_from(RECEIPTS.outerjoin(LINES, on))
        .where(*scope.where())
        .order_by(RECEIPTS.c.seq, LINES.c.attempt, LINES.c.component, LINES.c.revision)
    )
    before: str = ""
    body: dict[str, Any] = {}
    with reading(url) as db:
        for row in db.execute(query).yield_per(_AT_ONCE):
            first = row.request_id != before
            if first:
                before, body = row.request_id, orjson.loads(row.body)
                own = body["gateway_cost_nano"]
                listed = any(line["component"].startswith(GATEWAY) for line in body["lines"])
                if own and not listed:
                    yield _gateway_row(body, row.posted_ms, own)
                    first = False
            if row.attempt is None:
                if first:
                    yield _unbilled_row(body, row.posted_ms)
            else:
                yield Charge(
                    body,
                    row.posted_ms,
                    row.attempt,
                    row.component,
                    row.quantity,
                    row.rate,
                    row.amount_nano,
                    row.price_book,
                    row.rule,
                    first,
                )


def write_csv(url: str, scope: Scope, out: TextIO, *, focus: bool = False) -> int:
    """The range as CSV with a header; how many rows."""
    columns, render = (FOCUS, focus_row) if focus else (PLAIN, plain_row)
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    count = 0
    for charge in charges(url, scope):
        writer.writerow(render(charge))
        count += 1
    return count


def write_parquet(url: str, scope: Scope, path: Path, *, focus: bool = False) -> int:
    """The range as a Parquet file; how many rows."""
    import pyarrow as pa  # type: ignore[import-untyped]  # no type information is published
    from pyarrow import parquet

    columns, render = (FOCUS, focus_row) if focus else (PLAIN, plain_row)
    schema = pa.schema([pa.field(name, _arrow_type(pa, name)) for name in columns])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(charges(url, scope), _AT_ONCE):
            rows = [_typed(render(charge)) for charge in group]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def plain_row(charge: Charge) -> dict[str, Any]:
    """A charge in our own words."""
    body = charge.receipt
    same = {name: body[name] for name in PLAIN if name in body and name != "tags"}
    return {
        **same,
        "posted_at": iso_ms(charge.posted_ms),
        "tags": _json(body["tags"]),
        "attempt": charge.attempt,
        "component": charge.component,
        "quantity": charge.quantity,
        "unit_price_usd_per_million": charge.rate,
        "amount_usd": usd(charge.amount_nano),
        "price_book": charge.price_book,
        "rule": charge.rule,
        "tokenmaxxed_usd": _baseline(charge),
        "effective_tokens": body["effective_tokens"] if charge.first else None,
    }


def focus_row(charge: Charge) -> dict[str, Any]:
    """A charge in the columns of FOCUS 1.2; ours begin with ``x_``."""
    body, cost = charge.receipt, usd(charge.amount_nano)
    model, upstream = body["served_model"], body["upstream"]
    start = _EPOCH + timedelta(milliseconds=charge.posted_ms)
    hour = start.replace(minute=0, second=0, microsecond=0)
    month = hour.replace(day=1, hour=0)
    unit, corrects = _unit(charge.component), charge.component.startswith(CORRECTION)
    details = {"model": model, "component": charge.component, "rule": charge.rule}
    return {
        "BilledCost": cost,
        "BillingAccountId": upstream,
        "BillingAccountName": upstream,
        "BillingCurrency": "USD",
        "BillingPeriodStart": _iso(month),
        "BillingPeriodEnd": _iso((month + timedelta(days=32)).replace(day=1)),
        "ChargeCategory": "Usage",
        "ChargeClass": "Correction" if corrects else None,
        "ChargeDescription": f"{charge.component} of {model}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _iso(hour),
        "ChargePeriodEnd": _iso(hour + timedelta(hours=1)),
        "ConsumedQuantity": charge.quantity,
        "ConsumedUnit": unit,
        "ContractedCost": cost,
        "ContractedUnitPrice": charge.rate,
        "EffectiveCost": cost,
        "InvoiceIssuerName": upstream,
        "ListCost": usd(charge.list_nano),
        "ListUnitPrice": charge.list_rate,
        "PricingCategory": "Standard",
        "PricingQuantity": f"{Decimal(charge.quantity) / _MILLION:f}",
        "PricingUnit": f"1M {unit}",
        "ProviderName": upstream,
        "PublisherName": upstream,
        "ResourceId": body["request_id"],
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": model,
        "ServiceProviderName": upstream,
        "ServiceSubcategory": "Generative AI",
        "SkuId": f"{upstream}/{model}/{charge.component}",
        "SkuMeter": charge.component,
        "SkuPriceDetails": _json(details),
        "SkuPriceId": f"{upstream}/{model}/{charge.component}@{charge.rate}",
        "SubAccountId": body["team"],
        "SubAccountName": body["team"],
        "SubAccountType": "team",
        "Tags": _json({**body["tags"], "project": body["project"], "key": body["key"]}),
        **_own_columns(charge),
    }


def _own_columns(charge: Charge) -> dict[str, Any]:
    """What FOCUS has no column for."""
    body = charge.receipt
    return {
        "x_TokenmaxxedCost": _baseline(charge),
        "x_SavingsArm": body["arm"],
        "x_EffectiveTokens": body["effective_tokens"] if charge.first else None,
        "x_Origin": "gateway" if charge.component.startswith(GATEWAY) else "provider",
        "x_State": body["state"],
    }


def _line_columns() -> list[Any]:
    names = ("attempt", "component", "quantity", "rate", "amount_nano", "price_book", "rule")
    return [LINES.c[name] for name in names]


def _correction(row: Booked, until: int) -> Charge:
    """A correction as a charge: one nano-dollar a unit, its sign in the amount."""
    request = row.request_id or f"{row.account}/{row.day}"
    body: dict[str, Any] = dict.fromkeys(PLAIN)
    body |= {
        "request_id": request,
        "team": row.team or "",
        "project": row.project,
        "key": row.key or "",
        "tags": {"note": row.note} if row.note else {},
        "upstream": row.account,
        "requested_model": row.model or "",
        "served_model": row.model or "",
        "tier": "",
        "action": "",
        "arm": "",
        "state": "closed" if row.posted_ms < until else "reconciled",
        "usage_source": "provider",
        "baseline_nano": None,
    }
    return Charge(
        body,
        row.posted_ms,
        request,
        f"{CORRECTION}{row.kind}",
        row.amount_nano,
        HELD_RATE,
        row.amount_nano,
        "",
        row.reason,
        first=False,
    )


def _day(at_ms: int) -> date:
    return (_EPOCH + timedelta(milliseconds=at_ms)).date()


def _gateway_row(body: dict[str, Any], posted_ms: int, own: int) -> Charge:
    name, attempt = f"{GATEWAY}calls", body["request_id"]
    return Charge(body, posted_ms, attempt, name, own, HELD_RATE, own, "", "", first=True)


def _unbilled_row(body: dict[str, Any], posted_ms: int) -> Charge:
    return Charge(body, posted_ms, body["request_id"], "request", 0, "0", 0, "", "", first=True)


def _unit(component: str) -> str:
    name = component.removeprefix(GATEWAY)
    if name in {HELD, "calls"} or name.startswith(CORRECTION):
        return "Nano-dollars"
    if name.startswith(_TOOL):
        return "Calls"
    return "Requests" if name == "request" else "Tokens"


def _baseline(charge: Charge) -> str | None:
    baseline = charge.receipt["baseline_nano"]
    return usd(baseline) if charge.first and baseline is not None else None


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps({k: v for k, v in value.items() if v is not None}).decode()


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _groups(rows: Iterator[Charge], size: int) -> Iterator[list[Charge]]:
    group: list[Charge] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: Decimal(value) if name in _MONEY and value is not None else value
        for name, value in row.items()
    }


def _arrow_type(pa: Any, name: str) -> Any:
    if name in _MONEY:
        return pa.decimal128(38, 12)
    return pa.int64() if name in _COUNTS else pa.string()
