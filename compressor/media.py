"""Tokens of images, audio and files by the provider's published rule, never as text.

A size that the request does not tell (a remote URL) counts as the rule's upper bound and
is flagged, so that an estimate errs high.
Sources: OpenAI "Images and vision" guide (tiles: 85 + 170 a 512 px tile after fitting
2048 px and a 768 px short side; patches: 32 px, at most 1,536, times a factor a model);
Anthropic "Vision" (width * height / 750 after fitting 1,568 px, about 1,600 at most);
Google "Image understanding" (258 a tile, one tile up to 384 px) and "Audio" (32 a second).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, floor, sqrt

from compressor.conversation import Media, Part, PartKind
from compressor.errors import CompressorError

PATCH_PX = 32
TILE_PX = 512
TYPICAL_TILES = 6  # a 16:9 picture of any size under Google's rule
AUDIO_BYTES_A_SECOND = 8_000  # 64 kbit/s: raw audio is larger, so seconds err high
UNKNOWN_AUDIO_SECONDS = 300
PAGE_BYTES = 50_000
PAGE_TOKENS = 2_000  # text and picture of one page
UNKNOWN_PAGES = 10


@dataclass(frozen=True, slots=True)
class MediaRule:
    """One provider's rule with one model's figures.

    ``base`` and ``tile`` are tokens (tiles and Google's tiles), ``cap`` the most tokens or
    patches an image can cost, ``multiplier`` tokens a patch, ``long_edge`` pixels an image
    is scaled down to, ``audio`` tokens a second.
    """

    name: str
    base: int = 0
    tile: int = 0
    cap: int = 0
    multiplier: float = 1.0
    long_edge: int = 0
    audio: float = 10.0


@dataclass(frozen=True, slots=True)
class MediaCount:
    """``tokens`` by the rule; ``exact`` False when a size had to be assumed."""

    tokens: int
    exact: bool


def media_rule(name: str, **figures: int | float) -> MediaRule:
    """The rule ``name`` with a model's own figures put over the family's.

    Raises:
        CompressorError: no rule of that name.
    """
    known = {
        "openai_tiles": MediaRule("openai_tiles", base=85, tile=170, long_edge=2048),
        "openai_patches": MediaRule("openai_patches", cap=1536),
        "anthropic": MediaRule("anthropic", cap=1600, long_edge=1568),
        "gemini": MediaRule("gemini", tile=258, audio=32.0),
    }
    if name not in known:
        raise CompressorError(f"unknown media rule {name!r}; known: {', '.join(sorted(known))}")
    return replace(known[name], **figures)  # type: ignore[arg-type]  # field names checked there


def count_media(part: Part, rule: MediaRule) -> MediaCount:
    """Tokens of a non-text part under ``rule``."""
    media = part.media or Media()
    if part.kind is PartKind.AUDIO:
        return MediaCount(ceil(_seconds(media) * rule.audio), exact=False)
    if part.kind is PartKind.FILE:
        pages = UNKNOWN_PAGES if media.bytes_ is None else max(1, ceil(media.bytes_ / PAGE_BYTES))
        return MediaCount(pages * PAGE_TOKENS, exact=False)
    return _IMAGE_RULES[rule.name](media, rule)


def _seconds(media: Media) -> float:
    if media.bytes_ is None:
        return UNKNOWN_AUDIO_SECONDS
    return media.bytes_ / AUDIO_BYTES_A_SECOND


def _size(media: Media) -> tuple[int, int] | None:
    if media.width is None or media.height is None or media.width < 1 or media.height < 1:
        return None
    return media.width, media.height


def _tiles(media: Media, rule: MediaRule) -> MediaCount:
    if media.detail == "low":
        return MediaCount(rule.base, exact=True)
    size = _size(media)
    if size is None:
        most = ceil(rule.long_edge / TILE_PX) * ceil(768 / TILE_PX)
        return MediaCount(rule.base + rule.tile * most, exact=False)
    width, height = _shrink(size, rule.long_edge)
    tiles = ceil(width / TILE_PX) * ceil(height / TILE_PX)
    return MediaCount(rule.base + rule.tile * tiles, exact=True)


def _shrink(size: tuple[int, int], long_edge: int) -> tuple[float, float]:
    """Fit into a square of ``long_edge``, then bring the short side down to 768 px."""
    scale = min(1.0, long_edge / max(size))
    scale *= min(1.0, 768 / (min(size) * scale))
    return round(size[0] * scale, 6), round(size[1] * scale, 6)


def _patches(media: Media, rule: MediaRule) -> MediaCount:
    size = _size(media)
    if size is None:
        return MediaCount(ceil(rule.cap * rule.multiplier), exact=False)
    across, down = ceil(size[0] / PATCH_PX), ceil(size[1] / PATCH_PX)
    if across * down > rule.cap:
        shrink = sqrt(PATCH_PX**2 * rule.cap / (size[0] * size[1]))
        wide, high = size[0] * shrink / PATCH_PX, size[1] * shrink / PATCH_PX
        shrink *= min(
            floor(wide) / wide if wide >= 1 else 1, floor(high) / high if high >= 1 else 1
        )
        across = ceil(round(size[0] * shrink / PATCH_PX, 6))
        down = ceil(round(size[1] * shrink / PATCH_PX, 6))
    return MediaCount(ceil(min(across * down, rule.cap) * rule.multiplier), exact=True)


def _area(media: Media, rule: MediaRule) -> MediaCount:
    size = _size(media)
    if size is None:
        return MediaCount(rule.cap, exact=False)
    scale = min(1.0, rule.long_edge / max(size))
    tokens = ceil(size[0] * scale * size[1] * scale / 750)
    return MediaCount(min(tokens, rule.cap), exact=True)


def _crops(media: Media, rule: MediaRule) -> MediaCount:
    size = _size(media)
    if size is None:
        return MediaCount(rule.tile * TYPICAL_TILES, exact=False)
    if max(size) <= 384:
        return MediaCount(rule.tile, exact=True)
    unit = max(1, floor(min(size) / 1.5))
    return MediaCount(rule.tile * ceil(size[0] / unit) * ceil(size[1] / unit), exact=True)


_IMAGE_RULES: dict[str, Callable[[Media, MediaRule], MediaCount]] = {
    "openai_tiles": _tiles,
    "openai_patches": _patches,
    "anthropic": _area,
    "gemini": _crops,
}
