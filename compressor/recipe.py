"""What a fit is asked to do, and what it did."""

from __future__ import annotations

from enum import StrEnum

from compressor.conversation import Path
from compressor.record import record


class Way(StrEnum):
    """One way of making a prompt smaller, mildest first."""

    WHOLE = "whole"
    LOSSLESS = "lossless"
    TRIM = "trim"
    COMPRESS = "compress"


@record(frozen=True, slots=True)
class Recipe:
    """How far a prompt may be reduced.

    Args:
        way: the strongest way allowed; milder ones run before it.
        target_tokens: prompt tokens to end at or under, counted with the fit's counter.
        keep_recent: newest tokens of history that stay at full resolution.
        ratio: hardest compression of one segment, tokens before / after, > 1.
        widen_to: a flat ranking may use up to this many tokens before it refuses.
        time_limit_ms: beyond it the original goes (None: 150 ms + 1 ms per 1K tokens).
    """

    way: Way
    target_tokens: int
    keep_recent: int = 4096
    ratio: float = 10.0
    widen_to: int | None = None
    time_limit_ms: float | None = None


@record(frozen=True, slots=True)
class Edit:
    """A text of the body replaced: the string at ``path`` becomes ``text``."""

    path: Path
    text: str


@record(frozen=True, slots=True)
class Cut:
    """One piece that the fit dropped or rewrote.

    ``start`` and ``end`` are character offsets into the original part's text;
    ``sha256`` is of that original piece; ``score`` its relevance, 0 to 1.
    """

    message: int
    segment: int
    path: Path
    start: int
    end: int
    tokens: int
    way: Way
    score: float
    sha256: str


@record(frozen=True, slots=True)
class Fitted:
    """The result of a fit.

    ``way`` is what was really done (WHOLE when nothing was), ``prompt_tokens`` the size
    of the whole prompt afterwards. ``refused`` says in a short code why the recipe was
    not carried out (``flat_scores``, ``time_limit``, ``not_smaller``, ``protected``,
    ``failed``), or is None; a refusal has no edits.
    """

    way: Way
    edits: tuple[Edit, ...]
    cuts: tuple[Cut, ...]
    prompt_tokens: int
    confidence: float = 1.0
    refused: str | None = None
