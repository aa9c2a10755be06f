"""Cards are found by any provider's spelling; the unmeasured follow one rule."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from router.catalog import (
    ModelCard,
    bundled_catalog,
    default_card,
    effective,
    parse_catalog,
    plain_name,
)
from router.errors import CatalogInvalid
from router.need import Need, NeedKind

CATALOG = bundled_catalog()
OPEN = Need(NeedKind.LOOKUP, 0.9)
NAMED = Need(NeedKind.LOOKUP, 0.9, identifiers=True)
MANY = Need(NeedKind.SYNTHESIS, 0.9)


@pytest.mark.parametrize(
    ("name", "card"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/gpt-6.1-sol", "gpt-6.1-sol"),
        ("gemini/gemini-4-argon", "gemini-4-argon"),
        ("bedrock/eu.anthropic.claude-sonnet-5-5-v1:0", "claude-sonnet-5-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-haiku-5.5", "claude-haiku-5-5"),
        ("vertex_ai/claude-opus-5-5@20260801", "claude-opus-5-5"),
        ("GPT-6-Luna", "gpt-6-luna"),
    ],
)
def test_a_card_is_found_under_any_provider_s_name(name: str, card: str) -> None:
    """Provider, region, version and date in a name do not hide its card."""
    assert CATALOG.lookup(name).model == card


def test_a_longer_name_is_another_model() -> None:
    """A name that only starts like a known one gets no card of it."""
    card = CATALOG.lookup("gpt-4o-ultra-x")
    assert card.confidence == "default"
    assert not card.window_known


def test_the_unmeasured_follow_the_default_rule() -> None:
    """literal = min(window / 2, 64K), semantic 8K or 4K for small models, multi 16K."""
    large = CATALOG.lookup("gpt-6.1-sol")
    small = CATALOG.lookup("gpt-6-luna")
    assert [effective(large, need) for need in (NAMED, OPEN, MANY)] == [65_536, 8_192, 16_384]
    assert effective(small, OPEN) == 4_096
    tight = default_card("x").adjusted(window=16_000, effective=None)
    assert [effective(tight, need) for need in (NAMED, OPEN, MANY)] == [8_000, 8_000, 8_000]


def test_measured_lengths_win_over_the_rule() -> None:
    """Gemini 1.5 Pro finds literal needles in 128K but latent ones only in 2K."""
    card = CATALOG.lookup("gemini-1.5-pro")
    assert effective(card, NAMED) == 131_072
    assert effective(card, OPEN) == 2_048


def test_an_operator_s_own_figures_stand_for_every_kind_of_reading() -> None:
    """A declared effective_context replaces all three lengths, a window makes it known."""
    card = default_card("house-llama").adjusted(window=131_072, effective=24_000)
    assert card.window_known
    assert card.confidence == "configured"
    assert {effective(card, need) for need in (NAMED, OPEN, MANY)} == {24_000}


def test_every_shipped_card_says_where_it_is_from() -> None:
    """Each card names sources that the file explains, and only OpenAI's counts are exact."""
    for card in CATALOG.cards.values():
        assert card.sources or card.confidence == "default", card.model
        assert card.max_output <= card.window
        if card.exact:
            assert card.model.startswith(("gpt", "o1", "o3", "o4", "chatgpt")), card.model
    assert CATALOG.hash.startswith("sha256:")


def test_small_is_not_read_out_of_gemini_or_minimax() -> None:
    """The letters "mini" inside another word do not make a model small."""
    assert not CATALOG.lookup("gemini-4-argon").small
    assert not CATALOG.lookup("minimax-01").small
    assert default_card("llama-4-8b").small
    assert not default_card("llama-4-108b").small


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        json.dumps({"models": [{"model": "x"}]}),
        json.dumps(
            {
                "models": [
                    {"model": "x", "window": 10, "max_output": 20, "tokenizer": "o200k_base",
                     "token_ratio": 1, "media_rule": "gemini", "confidence": "default"}
                ]
            }
        ),
        json.dumps({"models": [], "aliases": {"a": "b"}}),
    ],
)  # fmt: skip
def test_a_broken_catalog_is_refused(text: str) -> None:
    """A catalog that cannot be read raises CatalogInvalid, never gives half of it."""
    with pytest.raises(CatalogInvalid):
        parse_catalog(text)


def test_names_are_stripped_to_the_model() -> None:
    """plain_name leaves a model's own digits alone."""
    assert plain_name("gpt-5.4") == "gpt-5.4"
    assert plain_name("us.anthropic.claude-opus-5-5-v1:0") == "claude-opus-5-5"
    assert isinstance(CATALOG.lookup("gpt-5.4"), ModelCard)


def test_every_length_says_where_it_is_from() -> None:
    """A measured length names a known source and a confidence; what is None names nothing."""
    sources = json.loads(
        resources.files("router").joinpath("data", "models.json").read_text("utf-8")
    )["sources"]
    for card in bundled_catalog().cards.values():
        for kind in ("literal", "semantic", "multi"):
            said = card.measured.get(kind)
            assert (said is None) == (getattr(card, kind) is None), card.model
            if said is not None:
                assert said.source in sources
                assert said.confidence in {"primary", "derived", "secondary"}
