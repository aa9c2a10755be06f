"""A cut prompt as it can be read."""

from __future__ import annotations

from dashboard.diff import as_bar, as_html, strips

_PATH = ["messages", 0, "content"]
_TEXT = "The refund period is 30 days. <b>The lake is blue.</b> Older turns were long."
_CUTS = (
    {"message": 0, "path": _PATH, "start": 55, "end": 77, "tokens": 5, "way": "compress"},
    {"message": 0, "path": _PATH, "start": 30, "end": 54, "tokens": 7, "way": "trim", "score": 0.1},
)
_BODY = {"messages": [{"role": "user", "content": _TEXT}]}


def test_every_character_is_in_one_piece_in_order() -> None:
    """Kept, dropped and summarised parts together are the text again."""
    (strip,) = strips(_CUTS, _BODY)
    assert strip.title == "messages 0"
    assert strip.pieces is not None
    assert "".join(piece.text for piece in strip.pieces) == _TEXT
    assert [piece.kind for piece in strip.pieces] == ["kept", "cut", "kept", "short"]


def test_a_prompt_cannot_become_markup() -> None:
    """What a user wrote is shown as text; dropped parts are <del>, summarised ones <mark>."""
    (strip,) = strips(_CUTS, _BODY)
    shown = as_html(strip)
    assert "<b>The lake" not in shown
    assert "&lt;b&gt;The lake" in shown
    assert '<del title="dropped: 7 tokens, trim, relevance 0.10">' in shown
    assert "<mark" in shown


def test_long_parts_that_were_kept_are_folded() -> None:
    """Their ends stay, and how much is between them is said."""
    text = "a" * 5000 + "cut"
    cuts = ({"path": _PATH, "start": 5000, "end": 5003, "tokens": 1, "way": "trim"},)
    (strip,) = strips(cuts, {"messages": [{"content": text}]})
    assert "4,520 characters more" in as_html(strip)


def test_without_a_body_places_are_shown_and_said() -> None:
    """A strip in proportion, with the same words for who cannot see it."""
    (strip,) = strips(_CUTS, None)
    assert strip.pieces is None
    bar = as_bar(strip)
    assert 'role="img"' in bar
    assert "summarised: 5 tokens, compress" in bar
    assert "left:38.961%" in bar
    (old,) = strips(({"message": 3, "segment": 2, "tokens": 4, "way": "trim"},), _BODY)
    assert (old.title, old.pieces) == ("message 3", None)
