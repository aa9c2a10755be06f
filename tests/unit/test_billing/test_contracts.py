"""Negotiated prices: what a clause names changes, for whom and when it says; the rest stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.contracts import (
    ClauseTerms,
    OverrideTerms,
    override_clauses,
    parse_contract,
    parse_regions,
)
from billing.errors import PriceMissing
from billing.money import amount
from billing.price_layers import PriceTerms
from billing.prices import Price, PriceBook
from billing.usage import Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday
BOOK = PriceBook.bundled()
SOL = "gpt-6.1-sol"
PARTS = ("input", "cache_read", "cache_write", "output", "tool_call:web_search")
STEP = 272_000


def contracted(text: str) -> PriceBook:
    return BOOK.with_clauses(parse_contract(text, "c"))


def contract(models: str, head: str = "upstream: main") -> PriceBook:
    return contracted(f"{{ author: ana, {head}, models: {models} }}")


def price(
    book: PriceBook, model: str = SOL, at: datetime = AT, account: str = "main", **more: object
) -> Price:
    region = {"region": str(more.pop("region"))} if "region" in more else {}
    context = {"account": account, **region}
    return book.price("openai", model, at, context=context, **more)  # type: ignore[arg-type]


@given(st.sampled_from(["input", "output", "cache_read"]), st.integers(1, 400_000))
def test_what_a_contract_does_not_name_is_inherited(named: str, prompt: int) -> None:
    """One named component changes that component alone, at any size of prompt."""
    listed = price(BOOK)
    agreed = price(contract(f"{{ {SOL}: {{ {named}: 1.5 }} }}"))
    for part in PARTS:
        if part != named:
            assert agreed.rate(part, prompt) == listed.rate(part, prompt)
    assert agreed.rate(named, 1) == Decimal("1.5")


def test_a_contract_of_the_output_alone_keeps_every_cliff() -> None:
    """Over the step the list's dearer rates hold, also for the component that was named."""
    agreed = price(contract(f"{{ {SOL}: {{ output: 8 }} }}"))
    assert (agreed.rate("output", STEP), agreed.rate("output", STEP + 1)) == (8, 15)
    assert agreed.rate("input", STEP + 1) == 4
    dearer = price(contract(f"{{ {SOL}: {{ output: 20 }} }}"))
    assert dearer.rate("output", STEP + 1) == 20
    own = "{ output: 8, above: [{ tokens: 100000, output: 9 }] }"
    stepped = price(contract(f"{{ {SOL}: {own} }}"))
    assert [stepped.rate("output", n) for n in (100_000, 100_001, STEP + 1)] == [8, 9, 9]


def test_terms_are_of_one_account() -> None:
    """Two accounts at one provider have their own prices; the others have the list's."""
    book = contract(f"{{ {SOL}: {{ output: 8 }} }}")
    assert price(book).rate("output", 1) == 8
    assert price(book, account="other").rate("output", 1) == 10
    everywhere = contract(f"{{ {SOL}: {{ output: 8 }} }}", "provider: openai")
    assert price(everywhere, account="other").rate("output", 1) == 8
    elsewhere = contract(f"{{ {SOL}: {{ output: 8 }} }}", "provider: azure")
    assert price(elsewhere).rate("output", 1) == 10


def test_a_discount_holds_for_every_tier_a_price_for_its_own() -> None:
    """A share off scales flex, batch and steps; a named price is the standard tier's."""
    book = contract(f"{{ {SOL}: [{{ discount: 10% }}, {{ output: 8 }}] }}")
    assert price(book).rate("input", STEP + 1) == Decimal("3.6")
    assert price(book).rate("output", 1) == 8
    assert price(book, service_tier="flex").rate("output", 1) == Decimal("4.5")
    assert price(book, batch=True).rate("input", 1) == Decimal("0.9")
    tiered = contract(f"{{ {SOL}: {{ service_tier: flex, output: 3 }} }}")
    assert price(tiered, service_tier="flex").rate("output", 1) == 3
    assert price(tiered).rate("output", 1) == 10


def test_a_contract_may_price_a_tier_that_the_list_does_not_know() -> None:
    """`service_tier: scale` has a price where a contract gives it one, and only there."""
    book = contract(f"{{ {SOL}: {{ service_tier: scale, input: 1, output: 4 }} }}")
    found = price(book, service_tier="scale")
    assert (found.rate("input", 1), found.rate("cache_read", 1)) == (1, Decimal("0.1"))
    with pytest.raises(PriceMissing, match="service_tier=scale"):
        price(BOOK, service_tier="scale")


def test_fees_by_the_call_are_named_in_usd_a_call() -> None:
    """A contract's own fee for a search; a discount leaves the list's fee alone."""
    book = contract(f"{{ {SOL}: {{ tool_calls: {{ web_search: 0.004 }}, request: 0.001 }} }}")
    usage = Usage(input_tokens=1, tool_calls={"web_search": 3})
    lines = {line.component: line.amount_nano for line in price(book).lines(usage, "A")}
    assert lines["tool_call:web_search"] == 12_000_000
    assert lines["request"] == 1_000_000
    off = price(contract(f"{{ {SOL}: {{ discount: 50% }} }}"))
    assert off.rate("tool_call:web_search", 1) == 10_000


def test_audio_and_images_have_prices_of_their_own() -> None:
    """What the list has no price for is charged once a contract names it, and raises before."""
    usage = Usage(input_audio_tokens=1000, output_image_tokens=10)
    with pytest.raises(PriceMissing, match="input_audio"):
        price(BOOK).cost(usage)
    agreed = price(contract(f"{{ {SOL}: {{ input_audio: 32, output_image: 40 }} }}"))
    assert agreed.cost(usage) == amount(1000, Decimal(32)) + amount(10, Decimal(40))


@pytest.mark.parametrize(
    ("terms", "inside", "outside"),
    [
        ("until: 2026-11-22", AT, AT + timedelta(hours=12)),
        ("from: 2026-11-21", AT, AT - timedelta(hours=13)),
        ('hours: "22:00-06:00"', AT + timedelta(hours=11), AT),
        ('hours: "22:00-06:00"', AT - timedelta(hours=7), AT - timedelta(hours=6)),
        ("weekdays: [sat, sun]", AT, AT - timedelta(days=1)),
        # 00:30 on Saturday in Berlin is still Friday in UTC.
        ("weekdays: [sat], timezone: Europe/Berlin",
         datetime(2026, 11, 20, 23, 30, tzinfo=UTC), datetime(2026, 11, 21, 23, 30, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_a_clause_holds_when_it_says(terms: str, inside: datetime, outside: datetime) -> None:
    """Dates, hours past midnight and weekdays, in the clause's own zone."""
    book = contract(f"{{ {SOL}: {{ output: 8, {terms} }} }}")
    assert price(book, at=inside).rate("output", 1) == 8
    assert price(book, at=outside).rate("output", 1) == 10


def test_a_whole_contract_ends() -> None:
    """Its own dates bound every clause in it."""
    head = "upstream: main, from: 2026-01-01, until: 2026-11-22"
    book = contract(f"{{ {SOL}: {{ output: 8, until: 2027-01-01 }} }}", head)
    assert price(book).rate("output", 1) == 8
    assert price(book, at=AT + timedelta(days=1)).rate("output", 1) == 10


def test_a_region_costs_more() -> None:
    """The published uplift of a region is on every kind of token and on no fee."""
    here = BOOK.price("anthropic", "claude-sonnet-5-5", AT)
    there = BOOK.price("anthropic", "claude-sonnet-5-5", AT, context={"region": "us"})
    world = BOOK.price("anthropic", "claude-sonnet-5-5", AT, context={"region": "global"})
    for part in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"):
        assert there.rate(part, 1) == here.rate(part, 1) * Decimal("1.1")
        assert world.rate(part, 1) == here.rate(part, 1)
    assert there.rate("tool_call:web_search", 1) == here.rate("tool_call:web_search", 1)
    assert there.component("input").rule(1) == "base*patch:claude-us"
    own = contract(f"{{ {SOL}: {{ region: eu, uplift: 10% }} }}")
    assert price(own, region="eu").rate("input", STEP + 1) == Decimal("4.4")
    assert price(own).rate("input", 1) == 2


def test_an_override_lies_over_everything_and_expires() -> None:
    """With an author, until its day; then the contract holds again."""
    terms = OverrideTerms.model_validate(
        {"model": SOL, "output": 7, "author": "ana@acme.example", "until": "2026-11-30"}
    )
    book = contract(f"{{ {SOL}: {{ output: 8 }} }}").with_overrides(
        {f"main@openai/{SOL}": PriceTerms(output=Decimal(9))}
    )
    assert price(book).rate("output", 1) == 9
    over = book.with_clauses(override_clauses((terms,)))
    line = price(over).lines(Usage(output_tokens=1), "A")[0]
    assert line.rate == "7"
    assert line.rule.endswith("#override:ana@acme.example")
    assert price(over, at=datetime(2026, 11, 30, tzinfo=UTC)).rate("output", 1) == 9
    for lacking in ("author", "until"):
        with pytest.raises(ValidationError, match=lacking):
            OverrideTerms.model_validate({**_plain(terms), lacking: None})


def _plain(terms: OverrideTerms) -> dict[str, object]:
    return {"model": terms.model, "output": 7, "author": terms.author, "until": terms.until}


def test_own_prices_are_of_the_account_that_declares_them() -> None:
    """Two upstreams of one provider may declare one model at two prices."""
    book = BOOK.with_overrides(
        {
            f"a@openai/{SOL}": PriceTerms(output=Decimal(1)),
            f"b@openai/{SOL}": PriceTerms(output=Decimal(2)),
        }
    )
    assert [price(book, account=a).rate("output", 1) for a in "abc"] == [1, 2, 10]


def test_the_rule_of_a_line_names_the_contract() -> None:
    """Every line says which layer priced it, and a discount which one it lowered."""
    text = "{ author: ana, name: acme-2026, upstream: main, models: { '*': { discount: 10% } } }"
    line = price(contracted(text)).lines(Usage(output_tokens=1), "A")[0]
    assert line.rule.endswith(f"openai/{SOL}#base*contract:acme-2026")
    assert amount(line.quantity, Decimal(line.rate)) == line.amount_nano
    assert contracted(text).hash != BOOK.hash
    assert contracted(text).hash == contracted(text).hash


def test_an_unpriced_model_costs_the_declared_ceiling_and_says_so() -> None:
    """With a ceiling nothing is refused and nothing is free; without one, it raises."""
    book = BOOK.with_ceiling(PriceTerms(input=Decimal(20), output=Decimal(80)))
    found = book.price("openai", "gpt-99", AT)
    assert found.unpriced
    line = found.lines(Usage(output_tokens=1_000_000), "A")[0]
    assert (line.amount_nano, line.rule) == (80_000_000_000, "unpriced:openai/gpt-99#ceiling")
    assert book.price("openai", SOL, AT, service_tier="scale").unpriced
    assert not book.price("openai", SOL, AT).unpriced
    with pytest.raises(PriceMissing, match="tool_call"):
        found.cost(Usage(tool_calls={"web_search": 1}))
    assert book.hash != BOOK.hash


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{ author: ana, upstream: u, models: { m: { outptu: 1 } } }", "models.m.0.outptu"),
        ("{ author: ana, models: { m: { output: 1 } } }", "with whom"),
        ("{ upstream: u, models: { m: { output: 1 } } }", "author"),
        ("{ author: ana, upstream: u, models: { m: {} } }", "name a price"),
        ("{ author: ana, upstream: u, models: { m: { discount: 120% } } }", "discount"),
        ("{ author: ana, upstream: u, models: { m: { discount: ten } } }", "is not a share"),
        ("{ author: ana, upstream: u, models: { m: { output: 1, hours: noon } } }", "hours"),
        ("{ author: ana, upstream: u, models: { m: { output: 1, timezone: Mars } } }", "time zone"),
        ("{ author: a, upstream: u, models: { m: { free: true, output: 1 } } }", "stands alone"),
        ("{author: a, upstream: u, models: {m: {input: 1, from: 2026-02-01, until: 2026-02-01}}}",
         "is not after"),
        ("{ author: [", "YAML"),
        ("just text", "the file"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_contract_is_named(text: str, place: str) -> None:
    """Unknown keys, wrong values and contracts with nobody say where and what."""
    with pytest.raises(ValueError, match=place):
        parse_contract(text, "c")


def test_a_regional_uplift_names_its_source() -> None:
    """A row without source or date of checking is refused."""
    with pytest.raises(ValueError, match="lacks"):
        parse_regions("- { id: x, provider: p, model: m, region: us, uplift: 10% }")


@given(st.integers(0, 500_000), st.integers(0, 20_000))
def test_the_most_is_never_less_than_any_way_of_caching(prompt: int, output: int) -> None:
    """A hold covers a prompt that is new, read from a cache, or written to one."""
    found = price(BOOK)
    most = found.most(prompt, output)
    for kind in ("input_tokens", "cache_read_tokens", "cache_write_30m_tokens"):
        for thought in (0, output):
            usage = Usage(
                **{kind: prompt}, output_tokens=output - thought, reasoning_tokens=thought
            )  # type: ignore[arg-type]
            assert found.cost(usage) <= most


def test_free_by_contract_is_written_out() -> None:
    """`free: true` of a contract costs nothing for as long as it holds."""
    book = contract(f"{{ {SOL}: {{ free: true, until: 2026-11-22 }} }}")
    assert price(book).cost(Usage(input_tokens=10)) == 0
    assert price(book, at=AT + timedelta(days=1)).cost(Usage(input_tokens=10)) == 20_000
    assert ClauseTerms.model_validate({"discount": "100%"}).factor == 0


def test_the_list_price_stands_beside_the_contracts() -> None:
    """Of what a contract names the provider's own rate is known, its step included; of what it
    leaves, of a list price and of a regional uplift there is nothing to say.
    """
    agreed = price(contract(f"{{ {SOL}: {{ output: 8 }} }}"))
    usage = Usage(input_tokens=100, output_tokens=5, reasoning_tokens=7)
    assert agreed.list_rates(usage) == {"output": "10", "reasoning": "10"}
    over = Usage(input_tokens=STEP + 1, output_tokens=5)
    dear = price(contract(f"{{ {SOL}: {{ output: 20 }} }}"))
    assert dear.list_rates(over) == {"output": "15"}
    assert price(BOOK).list_rates(usage) == {}
    cheaper = price(contract(f"{{ {SOL}: {{ discount: 10% }} }}"))
    assert cheaper.list_rates(usage) == {"input": "2", "output": "10", "reasoning": "10"}
    own = BOOK.with_overrides({"main@openai/own": PriceTerms(input=Decimal(1), output=Decimal(2))})
    assert price(own, "own").list_rates(usage) == {}
