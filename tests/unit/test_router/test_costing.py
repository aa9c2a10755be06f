"""What a candidate is expected to cost: now, and over its conversation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from billing.money import NANO_PER_USD
from billing.prices import PriceBook
from compressor.measure import Measurement
from compressor.recipe import Recipe, Way
from router.catalog import bundled_catalog
from router.complexity import Complexity
from router.costing import priced, warm_later, warm_now
from router.need import Need, NeedKind
from router.plan import RequestFacts, Tier
from router.policy import FitSection, RoutingSection, route_policy
from router.situation import Asked, ModelOption, Situation
from router.thread import Thread
from router.warmth import WRITE

BOOK, CATALOG = PriceBook.bundled(), bundled_catalog()
AT = datetime(2026, 11, 21, tzinfo=UTC)
FABLE = "claude-fable-5-2"


def option(name: str, tier: Tier, provider: str) -> ModelOption:
    price = BOOK.price(provider, name, AT)
    card = replace(CATALOG.lookup(name), token_ratio=1.0)
    return ModelOption(name, tier, provider, name, card, price)


MID = option(FABLE, Tier.MID, "anthropic")
LUNA = option("gpt-6-luna", Tier.SMALL, "openai")
SOL = option("gpt-6.1-sol", Tier.MID, "openai")


def situation(tokens: int, thread: Thread, **changes: object) -> Situation:
    """A conversation of ``tokens``, 5,000 of them system text, that expects 400 back."""
    base = Situation(
        facts=RequestFacts(FABLE, human_turns=20),
        measurement=Measurement(
            prompt_tokens=tokens,
            message_tokens=(5_000, tokens - 6_000, 1_000),
            by_role={"system": 5_000, "user": tokens - 5_000},
            tools_tokens=0, media_tokens=0, tokenizer="o200k_base", exact=True,
            segments=10, question="q", document_tokens=0,
        ),
        complexity=Complexity(0.9, 0.9, 0.95, 0.0),
        need=Need(NeedKind.CHAT, 0.9),
        options=(MID, LUNA, SOL),
        policy=route_policy(RoutingSection(), FitSection()),
        output_tokens_expected=400,
        thread=thread,
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name


ASKED = Asked(MID, auto=False, stay=MID, pinned=None)
ASKED_SOL = Asked(SOL, auto=False, stay=SOL, pinned=None)
COMPRESS = Recipe(Way.COMPRESS, 60_000)


def test_a_first_request_costs_what_it_is() -> None:
    """Without a past and a future the two figures are the same: input and output at list price."""
    found = priced(situation(100_000, Thread()), ASKED, MID, None)
    assert found.expected_nano == found.total_nano
    assert found.expected_nano == (100_000 * 8 + 400 * 40) * NANO_PER_USD // 1_000_000


def test_new_tokens_are_written_where_writing_costs() -> None:
    """A provider that charges for writing is charged for: warm tokens read, the rest written."""
    thread = Thread(writes={FABLE: WRITE})
    found = priced(situation(100_000, thread, warm={FABLE: 90_000}), ASKED, MID, None)
    dollars = (90_000 * 0.2 + 10_000 * 10 + 400 * 40) / 1_000_000
    assert found.expected_nano == round(dollars * NANO_PER_USD)


def test_a_cliff_reprices_the_whole_prompt() -> None:
    """Beyond 272,000 tokens every token of the request costs the long-context rate."""
    below, above = (
        priced(situation(tokens, Thread()), ASKED_SOL, SOL, None).expected_nano
        for tokens in (272_000, 273_000)
    )
    assert below is not None
    assert above is not None
    assert above > 1.9 * below


def test_compressing_a_warm_conversation_costs_now_and_earns_later() -> None:
    """The example of docs/concepts/cost.md: dearer at first, much cheaper over the conversation,
    as long as the memories stay as they are; a trim that changes every turn never is."""
    thread = Thread(
        turns_left=30, quick=0.98, keeps={FABLE: 1.0}, writes={FABLE: WRITE}, way_before="whole"
    )
    case = situation(150_000, thread, warm={FABLE: 147_000})
    whole = priced(case, ASKED, MID, None)
    compressed = priced(case, ASKED, MID, COMPRESS)
    trimmed = priced(case, ASKED, MID, Recipe(Way.TRIM, 60_000))
    assert compressed.expected_nano is not None
    assert whole.expected_nano is not None
    assert compressed.expected_nano > 5 * whole.expected_nano
    assert (compressed.total_nano or 0) < 0.9 * (whole.total_nano or 0)
    assert (trimmed.total_nano or 0) > 3 * (whole.total_nano or 0)


def test_the_same_fit_finds_its_own_prefix_warm() -> None:
    """What the same fit left warm is counted; another way keeps the head alone."""
    thread = Thread(warm_fit={f"{FABLE} compress": 50_000})
    case = situation(150_000, thread, warm={FABLE: 140_000})
    assert warm_now(case, MID, Way.WHOLE) == 140_000
    assert warm_now(case, MID, Way.COMPRESS) == 50_000
    assert warm_now(case, MID, Way.TRIM) == 5_000
    assert warm_now(case, LUNA, Way.WHOLE) == 0


def test_what_a_trim_keeps_warm_is_the_head() -> None:
    """A trim follows the question: of it only system text and tools are there again."""
    case = situation(150_000, Thread(quick=0.5, keeps={FABLE: 0.9}))
    assert warm_later(case, MID, Way.TRIM, 60_000) == int(5_000 * 0.45)
    assert warm_later(case, MID, Way.COMPRESS, 60_000) == int(60_000 * 0.45)


def test_an_answer_that_will_be_asked_again_is_counted() -> None:
    """A smaller model's expected failures cost the larger model's price, in the total alone."""
    sure = situation(50_000, Thread(), complexity=Complexity(0.9, 0.9, 0.9, 0.0))
    unsure = situation(50_000, Thread(), complexity=Complexity(0.6, 0.9, 0.6, 0.3))
    first, second = (priced(case, ASKED_SOL, LUNA, None) for case in (sure, unsure))
    again = priced(unsure, ASKED_SOL, SOL, None)
    assert first.total_nano == first.expected_nano == second.expected_nano
    assert second.total_nano is not None
    assert again.expected_nano is not None
    extra = second.total_nano - (second.expected_nano or 0)
    assert extra == int(0.3 * 0.3 * again.expected_nano)


def test_a_switch_pays_for_the_way_back() -> None:
    """Where later turns will need the larger model, a smaller one costs its reading all anew."""
    stays = Thread(turns_left=4, quick=0.9, keeps={"gpt-6.1-sol": 0.9})
    returns = replace(stays, ups=0.4)
    first, second = (
        priced(situation(50_000, thread), ASKED_SOL, LUNA, None) for thread in (stays, returns)
    )
    chance = 1 - 0.6**3
    extra = chance * 50_000 * 0.81 * (2 - 0.1) / 1_000_000 * NANO_PER_USD
    assert (second.total_nano or 0) - (first.total_nano or 0) == pytest.approx(extra, rel=0.001)
    assert first.expected_nano == second.expected_nano


def test_a_summariser_that_costs_money_is_on_the_bill() -> None:
    """Memories that are not made yet are paid for; those that were made are not paid again."""
    paid = Thread(summary=(NANO_PER_USD, 4 * NANO_PER_USD))
    free, first, again = (
        priced(situation(100_000, thread), ASKED, MID, COMPRESS).expected_nano or 0
        for thread in (Thread(), paid, replace(paid, way_before="compress"))
    )
    assert first > again > free
    assert priced(situation(100_000, paid), ASKED, MID, None).expected_nano == (
        priced(situation(100_000, Thread()), ASKED, MID, None).expected_nano
    )


def test_an_unknown_price_stays_unknown() -> None:
    """A model without a price has neither figure."""
    found = priced(situation(1_000, Thread()), ASKED, replace(MID, price=None), None)
    assert (found.expected_nano, found.total_nano) == (None, None)
