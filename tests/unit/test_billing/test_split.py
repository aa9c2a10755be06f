"""The split by cause: whatever the prices and the tokens, the parts are the saving."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from billing.counterfactual import Original, tokenmaxxed, usage_of
from billing.prices import Price, PriceBook
from billing.shadow_cache import CacheSplit
from billing.split import CAUSES, Journey, Split, Steps, failed, split, steps_of, uncached
from billing.usage import Usage

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOK = PriceBook.bundled()
SOL = BOOK.price("openai", "gpt-6.1-sol", AT)
LUNA = BOOK.price("openai", "gpt-6-luna", AT)
FABLE = BOOK.price("anthropic", "claude-fable-5-2", AT)

money = st.integers(0, 10**13)
tokens = st.integers(0, 400_000)
prices = st.sampled_from([SOL, LUNA, FABLE])


@given(st.builds(Steps, *[money] * 8))
def test_parts_add_up_whatever_the_steps(steps: Steps) -> None:
    """The parts sum to tokenmaxxed less paid, to the nano, for any prices on the way."""
    found = split(steps)
    assert found.saved_nano == steps.tokenmaxxed_nano - steps.paid_nano
    assert [cause for cause, _ in found.parts()] == list(CAUSES)


@st.composite
def journeys(draw: st.DrawFn) -> Journey:
    """A request with any prompt, cut, cache, model and retries on either side."""
    asked, served = draw(prices), draw(prices)
    prompt, answer = draw(tokens), draw(st.integers(0, 20_000))
    read = draw(st.integers(0, prompt))
    original = Original(prompt, answer, CacheSplit(read, 0, prompt - read))
    cost = tokenmaxxed(original, asked, None).cost_nano
    assert cost is not None
    sent = draw(st.none() | st.integers(0, prompt))
    used = draw(st.integers(0, sent if sent is not None else prompt))
    usage = Usage(
        input_tokens=(sent if sent is not None else prompt) - used,
        cache_read_tokens=used,
        output_tokens=answer,
    )
    billed = served.cost(usage)
    gateway, retries = draw(money), draw(money)
    return Journey(
        original=usage_of(original),
        asked=asked,
        tokenmaxxed_nano=cost + draw(money),
        sent_tokens=sent,
        answer=usage,
        served=draw(st.sampled_from([served, None])),
        answer_nano=billed,
        paid_nano=billed + gateway + retries,
        gateway_nano=gateway,
    )


@given(journeys())
def test_parts_add_up_at_real_prices(journey: Journey) -> None:
    """With the bundled book, its cliffs and caches, the parts are the saving to the nano."""
    found = split(steps_of(journey))
    assert found.saved_nano == journey.tokenmaxxed_nano - journey.paid_nano


def plain(asked: Price, prompt: int, answer: Usage, served: Price) -> Journey:
    original = usage_of(Original(prompt, answer.output_tokens))
    billed = served.cost(answer)
    return Journey(
        original, asked, asked.cost(original), None, answer, served, billed, billed, 0
    )  # fmt: skip


def test_as_asked_nothing_is_saved() -> None:
    """A request that passed untouched has no part in any cause."""
    answer = Usage(input_tokens=1000, output_tokens=50)
    assert split(steps_of(plain(SOL, 1000, answer, SOL))) == Split()


def test_another_model_is_the_models_merit_alone() -> None:
    """The same prompt at a cheaper model saves by model and by nothing else."""
    answer = Usage(input_tokens=1000, output_tokens=50)
    found = split(steps_of(plain(SOL, 1000, answer, LUNA)))
    assert found == Split(model_nano=SOL.cost(answer) - LUNA.cost(answer))
    assert found.model_nano > 0


def test_a_shorter_prompt_is_the_trims_merit_alone() -> None:
    """Below the cliff at the same model, the trim has all of $1.2150 less $0.1060."""
    answer = Usage(input_tokens=48_000, output_tokens=1_000)
    journey = replace(plain(SOL, 300_000, answer, SOL), sent_tokens=48_000)
    assert split(steps_of(journey)) == Split(trim_nano=1_215_000_000 - 106_000_000)


def test_the_providers_own_cache_is_nobodys_merit() -> None:
    """Warm on both sides is no saving; a prefix thrown away by a trim is a loss by cache."""
    warm = Usage(input_tokens=3_000, cache_read_tokens=147_000, output_tokens=600)
    cost = FABLE.cost(warm)
    journey = Journey(warm, FABLE, cost, None, warm, FABLE, cost, cost, 0)
    assert split(steps_of(journey)) == Split()
    cold = Usage(input_tokens=60_000, output_tokens=600)
    paid = FABLE.cost(cold)
    found = split(steps_of(Journey(warm, FABLE, cost, 60_000, cold, FABLE, paid, paid, 0)))
    assert found.trim_nano == FABLE.cost(uncached(warm)) - paid
    assert found.cache_nano == -(FABLE.cost(uncached(warm)) - cost)
    assert found.saved_nano < 0


def test_failures_and_own_calls_cost() -> None:
    """Without an answer everything paid is a retry's, and the gateway's calls are its own."""
    assert failed(500, 20) == Split(retries_nano=-480, gateway_nano=-20)
    assert failed(0, 0) == Split()


def test_the_asked_for_models_retries_count_for_us() -> None:
    """What untouched traffic would have paid for retries is a saving by retries."""
    answer = Usage(input_tokens=1000, output_tokens=50)
    journey = plain(SOL, 1000, answer, SOL)
    more = replace(journey, tokenmaxxed_nano=journey.tokenmaxxed_nano + 77)
    assert split(steps_of(more)) == Split(retries_nano=77)


@given(st.lists(st.builds(Split, *[st.integers(-(10**12), 10**12)] * 5)))
def test_sums_of_splits_are_splits_of_sums(splits: list[Split]) -> None:
    """Adding requests up by cause gives the same total as adding them up whole."""
    total = sum(splits, Split())
    assert total.saved_nano == sum(one.saved_nano for one in splits)
