"""The price book: dated, stepped, tiered; unknown is an error, never zero."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from billing.bundled import bundled_text
from billing.errors import PriceMissing
from billing.money import amount, usd, usd_cents
from billing.price_layers import Base, PriceTerms, parse_patches
from billing.prices import PriceBook
from billing.usage import Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook.bundled()


def cost(provider: str, model: str, usage: Usage, at: datetime = AT) -> str:
    return usd_cents(BOOK.price(provider, model, at).cost(usage))


def test_over_the_cliff_every_token_costs_more() -> None:
    """gpt-6.1-sol, 300,000 in, 1,000 out, cold: $1.2150 whole, $0.1060 at 48,000."""
    price = BOOK.price("openai", "gpt-6.1-sol", AT)
    assert usd(price.cost(Usage(input_tokens=300_000, output_tokens=1_000))) == "1.215"
    assert usd(price.cost(Usage(input_tokens=48_000, output_tokens=1_000))) == "0.106"


TURNS, OUTPUT = 40, 600


def session(prompt: int, cached_percent: int, *, first_cold: bool = True) -> int:
    """Nano-USD of 40 turns of claude-fable-5-2: the first writes, the others read."""
    price = BOOK.price("anthropic", "claude-fable-5-2", AT)
    total = 0
    for turn in range(TURNS):
        read = 0 if turn == 0 and first_cold else prompt * cached_percent // 100
        usage = Usage(
            cache_read_tokens=read, cache_write_5m_tokens=prompt - read, output_tokens=OUTPUT
        )
        total += price.cost(usage)
    return total


def test_worked_example_of_a_session() -> None:
    """List price $48.96, honest $4.78, prefix broken each turn $24.96, prefix kept $2.49."""
    price = BOOK.price("anthropic", "claude-fable-5-2", AT)
    listed = TURNS * price.cost(Usage(input_tokens=150_000, output_tokens=OUTPUT))
    assert usd_cents(listed) == "48.96"
    assert usd_cents(session(150_000, 98)) == "4.78"
    assert usd_cents(session(60_000, 0)) == "24.96"
    assert usd_cents(session(60_000, 98)) == "2.49"


@pytest.mark.parametrize(
    ("provider", "model", "last_cheap"),
    [
        ("openai", "gpt-6.1-sol", 272_000),
        ("openai", "gpt-6-luna", 272_000),
        ("xai", "grok-4.7", 199_999),
        ("google", "gemini-2.5-pro", 200_000),
        ("anthropic", "claude-haiku-5-5", 100_000),
    ],
)
def test_cliffs_stand_where_the_provider_says(provider: str, model: str, last_cheap: int) -> None:
    """One token past the step, every token of the request is dearer; at it, none is."""
    price = BOOK.price(provider, model, AT)
    below = price.rate("input", last_cheap)
    above = price.rate("input", last_cheap + 1)
    assert above > below
    at_step = price.cost(Usage(input_tokens=last_cheap))
    over = price.cost(Usage(input_tokens=last_cheap + 1))
    assert at_step == amount(last_cheap, below)
    assert over == amount(last_cheap + 1, above)


@given(st.integers(0, 400_000), st.integers(0, 400_000), st.integers(0, 5_000))
def test_cached_tokens_count_towards_the_cliff(fresh: int, cached: int, output: int) -> None:
    """The step is chosen by the whole prompt, and lines sum to the cost."""
    price = BOOK.price("openai", "gpt-6.1-sol", AT)
    usage = Usage(input_tokens=fresh, cache_read_tokens=cached, output_tokens=output)
    dear = fresh + cached > 272_000
    expected = (
        amount(fresh, Decimal(4 if dear else 2))
        + amount(cached, Decimal("0.2" if dear else "0.1"))
        + amount(output, Decimal(15 if dear else 10))
    )
    lines = price.lines(usage, "A")
    assert price.cost(usage) == expected == sum(line.amount_nano for line in lines)
    for line in lines:
        assert amount(line.quantity, Decimal(line.rate)) == line.amount_nano
        assert line.price_book == BOOK.hash
        assert line.rule.startswith("genai-prices@")
        assert line.rule.endswith(">272000") == dear


def test_an_unknown_model_raises() -> None:
    """A model or provider that the book lacks has no price; it is not free."""
    for provider, model in (("openai", "gpt-99"), ("nobody", "gpt-6-luna"), ("vllm", "llama")):
        with pytest.raises(PriceMissing, match="free: true"):
            BOOK.price(provider, model, AT)
        assert not BOOK.known(provider, model)


def test_an_unknown_service_tier_raises() -> None:
    """A tier that the model does not list is never priced as the standard one."""
    with pytest.raises(PriceMissing, match="service_tier=scale"):
        BOOK.price("openai", "gpt-6.1-sol", AT, service_tier="scale")
    with pytest.raises(PriceMissing, match="processing=batch"):
        BOOK.price("openai", "text-embedding-ada-002", AT - timedelta(days=900), batch=True)
    with pytest.raises(PriceMissing, match="speed=fast"):
        BOOK.price("anthropic", "claude-haiku-5-5", AT, context={"speed": "fast"})


@pytest.mark.parametrize(
    ("tier", "batch", "expected"),
    [
        ("default", False, 2),
        ("standard", False, 2),
        ("auto", False, 2),
        (None, False, 2),
        ("flex", False, 1),
        ("priority", False, 4),
        ("default", True, 1),
    ],
)
def test_service_tiers_and_batch(tier: str | None, batch: bool, expected: int) -> None:
    """What was served prices the request; the standard tier has several names."""
    price = BOOK.price("openai", "gpt-6.1-sol", AT, service_tier=tier, batch=batch)
    assert price.rate("input", 1000) == expected


def test_a_further_dimension_is_priced() -> None:
    """Anthropic's fast mode costs what the book lists for it."""
    price = BOOK.price("anthropic", "claude-fable-5-2", AT, context={"speed": "fast"})
    assert (price.rate("input", 1), price.rate("output", 1)) == (16, 80)


def test_prices_change_on_their_day() -> None:
    """An introductory price ends at midnight UTC, known in advance."""
    before = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    price = BOOK.price("gemini", "gemini-4-argon", before)
    assert (price.rate("input", 1), price.rate("output", 1)) == (2, 10)
    price = BOOK.price("gemini", "gemini-4-argon", before + timedelta(seconds=1))
    assert (price.rate("input", 1), price.rate("output", 1)) == (4, 20)


def test_prices_by_the_hour() -> None:
    """A peak price holds between its UTC hours and at no other time."""
    day = datetime(2026, 11, 20, tzinfo=UTC)
    rates = [
        BOOK.price("deepseek", "deepseek-v4-flash", day + timedelta(hours=hour)).rate("input", 1)
        for hour in range(24)
    ]
    peak = {hour for hour, rate in enumerate(rates) if rate == Decimal("0.3")}
    assert peak == {1, 2, 3, 6, 7, 8, 9}


def test_a_naive_instant_is_refused() -> None:
    """A price needs to know when, in which zone."""
    with pytest.raises(ValueError, match="time zone"):
        BOOK.price("openai", "gpt-6.1-sol", datetime(2026, 11, 21))  # noqa: DTZ001 - the point


def test_names_find_their_entry() -> None:
    """Provider aliases, dated names, resellers and prefixed names reach the right model."""
    sol = BOOK.price("openai", "gpt-6.1-sol", AT).rates
    assert BOOK.price("openai", "gpt-6.1-sol-20260929", AT).rates == sol
    assert BOOK.price("azure_ai", "GPT-6.1-sol", AT).rates == sol
    assert BOOK.price("some-upstream", "openai/gpt-6.1-sol", AT).rates == sol
    argon = BOOK.price("google", "gemini-4-argon", AT).rates
    assert BOOK.price("bedrock", "gemini/gemini-4-argon", AT).rates == argon


def test_components_without_a_price_of_their_own() -> None:
    """Only a parent that cannot be cheaper than the truth may stand in."""
    price = BOOK.price("anthropic", "claude-fable-5-2", AT)
    assert price.rate("cache_write_5m", 1) == 10
    assert price.rate("reasoning", 1) == price.rate("output", 1)
    assert price.rate("input_image", 1) == price.rate("input", 1)
    assert price.rate("cache_write_1h", 1) == 16
    for component in ("cache_write_12h", "input_audio", "output_audio", "tool_call:code"):
        with pytest.raises(PriceMissing, match=component):
            price.rate(component, 1)
    with pytest.raises(PriceMissing, match="input_audio"):
        price.cost(Usage(input_tokens=1, input_audio_tokens=1))


def test_tool_calls_have_lines() -> None:
    """Web searches are billed by the thousand; web fetches are patched to be free."""
    price = BOOK.price("anthropic", "claude-fable-5-2", AT)
    usage = Usage(tool_calls={"web_search": 3, "web_fetch": 2})
    by_component = {line.component: line for line in price.lines(usage, "A")}
    assert usd(by_component["tool_call:web_search"].amount_nano) == "0.03"
    assert by_component["tool_call:web_fetch"].amount_nano == 0
    assert "patch:claude-web-fetch" in by_component["tool_call:web_fetch"].rule


def test_a_patched_component_has_its_cliff() -> None:
    """A twelve-hour write of gpt-6.1-terra doubles over the step, as its other cache rates do."""
    price = BOOK.price("openai", "gpt-6.1-terra", AT)
    assert price.rate("cache_write_12h", 272_000) == Decimal("2.5")
    assert price.rate("cache_write_12h", 272_001) == 5
    assert price.rate("cache_write_30m", 272_001) == 2 * price.rate("cache_write_30m", 1)


def test_every_patch_names_its_source() -> None:
    """A patch without source and date of checking is refused; ours have both."""
    patches = parse_patches(bundled_text("patches.yaml").decode())
    assert patches
    assert all(patch.source.startswith("https://") for patch in patches)
    with pytest.raises(ValueError, match="lacks"):
        parse_patches("- {id: x, provider: openai, model: m, rates: {input: '1'}}")


def test_an_override_names_only_what_differs() -> None:
    """A declared output price leaves the rest of the book as it was, cliffs included."""
    book = BOOK.with_overrides({"gpt-6.1-sol": PriceTerms(output=Decimal(8))})
    price = book.price("openai", "gpt-6.1-sol", AT)
    assert price.rate("output", 1) == 8
    assert price.rate("input", 300_000) == 4
    assert price.lines(Usage(output_tokens=1), "A")[0].rule.endswith("#override")
    assert book.hash != BOOK.hash


def test_a_declared_model_needs_no_entry() -> None:
    """A house model costs what its configuration says; nothing else is made up."""
    terms = PriceTerms.model_validate({"input": 0.05, "output": 0.10})
    book = BOOK.with_overrides({"vllm/llama-4-8b": terms})
    price = book.price("vllm", "llama-4-8b", AT)
    assert usd(price.cost(Usage(input_tokens=1_000_000, output_tokens=1_000_000))) == "0.15"
    assert price.cost(Usage(cache_read_tokens=100)) == price.cost(Usage(input_tokens=100))
    with pytest.raises(PriceMissing, match="service_tier=flex"):
        book.price("vllm", "llama-4-8b", AT, service_tier="flex")
    with pytest.raises(PriceMissing, match="tool_call:web_search"):
        price.cost(Usage(tool_calls={"web_search": 1}))


def test_a_declared_cliff_reprices_every_token() -> None:
    """`above` in a configuration works as a provider's own step does."""
    terms = PriceTerms.model_validate(
        {"input": 1, "output": 2, "above": [{"tokens": 1000, "inclusive": True, "input": 3}]}
    )
    price = BOOK.with_overrides({"m": terms}).price("p", "m", AT)
    assert (price.rate("input", 999), price.rate("input", 1000)) == (1, 3)
    assert price.rate("output", 5000) == 2


def test_free_is_written_out() -> None:
    """`free: true` costs nothing and still has lines; it stands alone."""
    book = BOOK.with_overrides({"local": PriceTerms(free=True)})
    price = book.price("vllm", "local", AT, service_tier="flex")
    lines = price.lines(Usage(input_tokens=5, tool_calls={"x": 1}), "A")
    assert [line.amount_nano for line in lines] == [0, 0]
    for wrong in ({}, {"free": True, "input": 1}, {"inptu": 1}, {"input": -1}):
        with pytest.raises(ValidationError):
            PriceTerms.model_validate(wrong)


def test_the_hash_names_the_content() -> None:
    """The same book has the same hash; any other price has another."""
    assert PriceBook.bundled().hash == BOOK.hash
    assert BOOK.hash.startswith("sha256:")
    one = BOOK.with_overrides({"m": PriceTerms(input=Decimal(1))})
    same = BOOK.with_overrides({"m": PriceTerms(input=Decimal("1.00"))})
    other = BOOK.with_overrides({"m": PriceTerms(input=Decimal(2))})
    assert one.hash == same.hash
    assert len({BOOK.hash, one.hash, other.hash}) == 3


def test_a_damaged_snapshot_is_refused() -> None:
    """A snapshot whose body does not match its own hash is not used."""
    text = bundled_text("prices.jsonl").replace(b'"input":"2"', b'"input":"1"', 1)
    with pytest.raises(ValueError, match="hash"):
        Base(text)


def test_the_snapshot_is_the_installed_package() -> None:
    """The shipped snapshot is what the pinned genai-prices package says."""
    path = Path(__file__).parents[3] / "scripts" / "snapshot_prices.py"
    spec = importlib.util.spec_from_file_location("snapshot_prices", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.snapshot().encode() == bundled_text("prices.jsonl")


def _theirs(provider: str, model: str, usage: Mapping[str, int]) -> Decimal:
    from genai_prices import Usage as TheirUsage
    from genai_prices import calc_price

    return calc_price(
        TheirUsage(**usage), model_ref=model, provider_id=provider, genai_request_timestamp=AT
    ).total_price


@settings(max_examples=40)
@given(st.data())
def test_costs_agree_with_the_package_they_come_from(data: st.DataObject) -> None:
    """For any listed chat model our lines sum to genai-prices' own total, to the rounding."""
    provider = data.draw(st.sampled_from(["openai", "anthropic", "google", "x-ai", "mistral"]))
    model = data.draw(st.sampled_from(_chat_models(provider)))
    fresh, cached, output = (data.draw(st.integers(0, 500_000)) for _ in range(3))
    ours = BOOK.price(provider, model, AT).cost(
        Usage(input_tokens=fresh, cache_read_tokens=cached, output_tokens=output)
    )
    theirs = _theirs(
        provider,
        model,
        {
            "input_tokens": fresh + cached,
            "cache_read_tokens": cached,
            "output_tokens": output,
        },
    )
    assert abs(Decimal(ours) - theirs * 10**9) <= 2


@cache
def _chat_models(provider: str) -> list[str]:
    base = Base(bundled_text("prices.jsonl"))
    chosen = []
    for model in base.models(provider):
        entry = base.find(provider, model)
        if entry is None or entry.model != model:
            continue
        rates = [period.rates for period in entry.periods]
        if all({"input", "output"} <= set(rate) and "request" not in rate for rate in rates):
            chosen.append(model)
    return chosen


def test_every_bucket_has_its_line() -> None:
    """What a usage counts is on the bill, component by component, and nothing else is."""
    names = [name for name in Usage.__slots__ if name.endswith("_tokens")]
    parts = [name.removesuffix("_tokens") for name in names]
    terms = PriceTerms.model_validate(dict.fromkeys(parts, 1))
    price = PriceBook.bundled({"all": terms}).price("nobody", "all", AT)
    for number, name in enumerate(names, 1):
        (line,) = price.lines(Usage(**{name: number}), "A")
        assert (line.component, line.quantity) == (parts[number - 1], number)
    whole = Usage(**dict.fromkeys(names, 10))
    assert sum(line.quantity for line in price.lines(whole, "A")) == whole.billed_tokens


def test_the_most_covers_an_answer_without_a_thought() -> None:
    """Where reasoning is the cheaper half of the output, a hold still covers plain text."""
    terms = PriceTerms.model_validate({"input": 1, "output": 10, "reasoning": 2})
    price = PriceBook.bundled({"thinker": terms}).price("nobody", "thinker", AT)
    assert price.most(0, 1_000) == 10_000_000 == price.cost(Usage(output_tokens=1_000))
