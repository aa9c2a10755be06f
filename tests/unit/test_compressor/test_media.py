"""Media tokens by the published rules, checked against the publishers' own examples."""

from __future__ import annotations

import pytest

from compressor.conversation import Media, Part, PartKind
from compressor.errors import CompressorError
from compressor.media import count_media, media_rule


def image(width: int | None, height: int | None, detail: str = "auto") -> Part:
    return Part(PartKind.IMAGE, media=Media(width, height, detail))


@pytest.mark.parametrize(
    ("rule", "size", "tokens"),
    [
        ("openai_tiles", (1024, 1024), 765),
        ("openai_tiles", (2048, 4096), 1105),
        ("openai_tiles", (512, 512), 255),
        ("openai_patches", (1024, 1024), 1024),
        ("openai_patches", (1800, 2400), 1452),
        ("anthropic", (200, 200), 54),
        ("anthropic", (1000, 1000), 1334),
        ("anthropic", (4000, 4000), 1600),
        ("gemini", (384, 384), 258),
        ("gemini", (960, 540), 1548),
    ],
)
def test_published_examples(rule: str, size: tuple[int, int], tokens: int) -> None:
    """An image of known size costs what the provider's documentation says."""
    counted = count_media(image(*size), media_rule(rule))
    assert (counted.tokens, counted.exact) == (tokens, True)


def test_low_detail_costs_the_base() -> None:
    """detail=low costs the base tokens, whatever the size."""
    assert count_media(image(None, None, "low"), media_rule("openai_tiles")).tokens == 85


def test_a_model_may_have_its_own_figures() -> None:
    """A model's own base, tile and multiplier go over those of the family."""
    mini = media_rule("openai_tiles", base=2833, tile=5667)
    assert count_media(image(512, 512), mini).tokens == 2833 + 5667
    patches = media_rule("openai_patches", multiplier=1.62)
    assert count_media(image(1024, 1024), patches).tokens == 1659


@pytest.mark.parametrize("rule", ["openai_tiles", "openai_patches", "anthropic"])
def test_an_unknown_size_is_the_upper_bound_and_flagged(rule: str) -> None:
    """An image of unknown size costs at least what any size would, and is not exact."""
    unknown = count_media(image(None, None), media_rule(rule))
    assert not unknown.exact
    for size in [(16, 16), (512, 2048), (768, 2048), (1500, 1500), (9000, 300)]:
        assert count_media(image(*size), media_rule(rule)).tokens <= unknown.tokens


def test_audio_counts_by_its_length() -> None:
    """Audio costs by its bytes, and is never exact."""
    short = count_media(Part(PartKind.AUDIO, media=Media(bytes_=8_000)), media_rule("gemini"))
    long = count_media(Part(PartKind.AUDIO, media=Media(bytes_=80_000)), media_rule("gemini"))
    assert (short.tokens, long.tokens, short.exact) == (32, 320, False)


def test_a_file_counts_by_its_pages() -> None:
    """A file costs by its bytes, and more when nothing is known of it."""
    rule = media_rule("anthropic")
    known = count_media(Part(PartKind.FILE, media=Media(bytes_=10_000)), rule)
    unknown = count_media(Part(PartKind.FILE), rule)
    assert known.tokens < unknown.tokens
    assert not known.exact


def test_an_unknown_rule_is_named() -> None:
    """A rule that nobody published is refused with the known names."""
    with pytest.raises(CompressorError, match="openai_tiles"):
        media_rule("pixels")
