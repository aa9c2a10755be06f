"""Provider exports: every published shape read exactly, everything else refused."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal

import pytest

from billing.provider_exports import ExportInvalid, Stated, read_export

NOV_21 = date(2026, 11, 21)
START, END = 1_795_219_200, 1_795_305_600
"""2026-11-21 in Unix seconds."""


def openai_page(*results: dict[str, object], **fields: object) -> bytes:
    bucket = {"object": "bucket", "start_time": START, "end_time": END, "results": list(results)}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False, **fields}).encode()


def anthropic_page(*results: dict[str, object]) -> bytes:
    bucket = {
        "starting_at": "2026-11-21T00:00:00Z",
        "ending_at": "2026-11-22T00:00:00Z",
        "results": list(results),
    }
    return json.dumps({"data": [bucket], "has_more": False, "next_page": None}).encode()


def test_openai_costs() -> None:
    """A costs page: dollars, exact as written, the model out of the line item."""
    raw = openai_page(
        {
            "object": "organization.costs.result",
            "amount": {"value": 0.06, "currency": "usd"},
            "line_item": "gpt-6-luna, input",
        },
        {"object": "organization.costs.result", "amount": None, "line_item": None},
    )
    found = read_export(raw)
    assert (found.kind, found.days, found.has_cost, found.has_tokens) == (
        "openai", (NOV_21,), True, False,
    )  # fmt: skip
    assert found.rows == (
        Stated(NOV_21, None, "gpt-6-luna", "", None, None, Decimal("0.06")),
        Stated(NOV_21, None, None, "", None, None, Decimal(0)),
    )


def test_openai_usage() -> None:
    """A usage page: cached tokens are inside the input count and are not added again."""
    result = {
        "object": "organization.usage.completions.result",
        "input_tokens": 1000,
        "input_cached_tokens": 800,
        "output_tokens": 50,
        "model": "gpt-6-luna-2026-05-01",
        "batch": True,
        "service_tier": None,
    }
    found = read_export(openai_page(result), "openai")
    assert found.rows == (Stated(NOV_21, None, "gpt-6-luna-2026-05-01", "batch", 1000, 50, None),)
    assert (found.has_cost, found.has_tokens) == (False, True)


def test_openai_csv() -> None:
    """The dashboard's CSV of costs and of usage; a day without anything is still a day."""
    costs = (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item\n"
        f"{START},{END},x,x,0.8958740000000000,usd,\n"
        f"{START + 172_800},{END + 172_800},x,x,,,\n"
    )
    found = read_export(costs.encode())
    assert [row.cost_usd for row in found.rows] == [Decimal("0.895874")]
    assert [day.day for day in found.days] == [21, 22, 23]
    usage = (
        "start_time\tend_time\tmodel\tbatch\tservice_tier\tinput_tokens\toutput_tokens\n"
        f"{START}\t{START + 60}\tgpt-6-luna\tFalse\tflex\t10\t2\n"
    )
    assert read_export(usage.encode()).rows == (
        Stated(NOV_21, None, "gpt-6-luna", "flex", 10, 2, None),
    )


def test_anthropic_costs_are_cents() -> None:
    """A cost report's amounts are cents as decimal text: "123.45" is $1.2345."""
    raw = anthropic_page(
        {
            "amount": "123.45",
            "currency": "USD",
            "model": "claude-haiku-5-5",
            "service_tier": "batch",
        }
    )
    (row,) = read_export(raw).rows
    assert (row.cost_usd, row.model, row.tier) == (Decimal("1.2345"), "claude-haiku-5-5", "batch")


def test_anthropic_usage_adds_the_cache() -> None:
    """A usage report's prompt is uncached, read and written tokens together."""
    raw = anthropic_page(
        {
            "uncached_input_tokens": 1500,
            "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
            "cache_read_input_tokens": 200,
            "output_tokens": 500,
            "service_tier": "standard",
            "model": "claude-haiku-5-5",
        }
    )
    (row,) = read_export(raw).rows
    assert (row.prompt_tokens, row.completion_tokens, row.tier) == (3200, 500, "")


def test_anthropic_csv() -> None:
    """The console's CSV of costs and of usage."""
    costs = (
        "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,"
        "cost_type\n2026-11-21,Claude Haiku 5.5,W,k,message,0-200k,input_no_cache,0.13,token\n"
    )
    (row,) = read_export(costs.encode()).rows
    assert (row.cost_usd, row.tier, row.model) == (Decimal("0.13"), "", "Claude Haiku 5.5")
    usage = (
        "usage_date_utc,model_version,usage_type,usage_input_tokens_no_cache,"
        "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,"
        "usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n"
        "2026-11-21,claude-haiku-5-5,batch,1,2,3,4,5,0\n"
    )
    assert read_export(usage.encode()).rows == (
        Stated(NOV_21, None, "claude-haiku-5-5", "batch", 10, 5, None),
    )


def test_a_csv_of_anybody() -> None:
    """Day and cost or tokens are enough; accounts, models and tiers are taken where given."""
    raw = b"day,account,model,prompt_tokens,completion_tokens,cost_usd\n2026-11-21,sim,m,10,2,0.5\n"
    found = read_export(raw)
    assert found.kind == "generic"
    assert found.rows == (Stated(NOV_21, "sim", "m", "", 10, 2, Decimal("0.5")),)
    assert read_export(b"day,cost_usd\n2026-11-21,-3\n").rows[0].cost_usd == -3


def test_pages_may_be_a_list_or_lines() -> None:
    """Saved pages, as a JSON list or one a line, are one export."""
    page = openai_page({"amount": {"value": 1, "currency": "usd"}})
    as_list = b"[" + page + b"," + page + b"]"
    assert len(read_export(as_list).rows) == len(read_export(page + b"\n" + page).rows) == 2
    assert read_export(as_list).source != read_export(page).source


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"{", "neither JSON nor"),
        (b"[1]", "no pages"),
        (b'{"data": [1]}', "must hold buckets"),
        (b'{"data": [{"start_time": 1}]}', "with `results`"),
        (b'{"data": []}', "names no day"),
        (b"a,b\n1,2\n", "no known export"),
        (b"", "no known export"),
        (b"day,cost_usd\nyesterday,1\n", "line 2: 'yesterday' is no day"),
        (b"day,cost_usd\n2026-11-21,much\n", "not a number"),
        (b"day,cost_usd\n2026-11-21,NaN\n", "not an amount"),
        (b"day,prompt_tokens\n2026-11-21,1.5\n", "not a count"),
        (b"day,prompt_tokens\n2026-11-21,-1\n", "not a count"),
        (openai_page(has_more=True), "fetch the remaining"),
        (openai_page({"amount": {"value": 1, "currency": "eur"}}), "only USD"),
        (
            json.dumps(
                {"data": [{"start_time": START, "end_time": END + 1, "results": []}]}
            ).encode(),
            "longer than a day",
        ),
    ],
)
def test_half_or_foreign_files_are_refused(raw: bytes, words: str) -> None:
    """What is not a whole export of a known shape is refused with the remedy."""
    with pytest.raises(ExportInvalid, match=words):
        read_export(raw)


def test_the_format_is_held_to_its_word() -> None:
    """A format that was named and is another is an error, and so is one nobody knows."""
    with pytest.raises(ExportInvalid, match="kind openai, not anthropic"):
        read_export(openai_page(), "anthropic")
    with pytest.raises(ExportInvalid, match="no format 'azure'"):
        read_export(openai_page(), "azure")
