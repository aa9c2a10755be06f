"""What the benchmark of growing conversations makes of its measurements."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

import pytest

from benchmarks.turns import by_part, drawing, slopes, texts

ROWS = [
    {
        "turn": turn,
        "bytes": turn * 1024,
        "whole": 1_000 + 10 * turn,
        "flat": 500,
        "steep": 10 * turn,
    }
    for turn in range(1, 201)
    for _ in range(3)
]


def test_a_tenth_of_the_turns_is_one_median() -> None:
    """Each part has the median of its turns, whoever's they are."""
    parts = by_part(ROWS, 200)
    assert len(parts) == 10
    assert parts[0]["turn"] == 10.5
    assert parts[-1]["turn"] == 190.5


def test_a_slope_is_what_a_kb_of_history_adds() -> None:
    """A stage that depends on new text alone has the slope 0."""
    found = slopes(by_part(ROWS, 200))
    assert found["flat"] == 0
    assert found["steep"] == pytest.approx(10)
    assert "turn" not in found


def test_the_plot_is_an_svg_with_a_curve_a_stage() -> None:
    """It can be read as XML, and each curve stays inside it."""
    drawn = drawing(by_part(ROWS, 200), ["whole", "flat"])
    root = ET.fromstring(drawn)  # noqa: S314 - our own text
    curves = [one for one in root if one.tag.endswith("polyline")]
    assert len(curves) == 2
    for curve in curves:
        for point in curve.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= float(root.attrib["width"])
            assert 0 <= y <= float(root.attrib["height"])


def test_every_text_is_another() -> None:
    """No turn says what another one said, so that nothing is known before it comes."""
    found = list(itertools.islice(texts(600), 500))
    assert len(set(found)) == 500
    assert {len(text.split(": ", 1)[1]) for text in found} == {600}
