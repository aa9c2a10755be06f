"""A card says what was found and how, and the gateway reads what the probe wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree as ET

from ruamel.yaml import YAML

from gateway.card_files import read_cards
from gateway.probe_card import Found, card, card_yaml, curve_svg, summary
from gateway.probe_run import Setup
from gateway.settings import RootSection
from gateway.yaml_text import Document
from router.catalog import bundled_catalog
from router.effective import EffectiveLengths, from_card
from router.probe import Point, Range, Reach
from router.probe_tasks import Kind

SETUP = Setup("house<1>", (Kind.LITERAL, Kind.MULTI), Range(1_024, 32_768), 1, 128)
POINTS = (Point(1_024, 64, 64), Point(16_384, 16, 16), Point(32_768, 2, 8))
Depths = tuple[float | None, float | None, float | None]


def reach(kind: Kind, tokens: int, points: tuple[Point, ...], depths: Depths) -> Reach:
    return Reach(kind, tokens, at_least=False, finished=True, points=points, depths=depths)


FOUND = Found(
    SETUP,
    (
        reach(Kind.LITERAL, 16_384, POINTS, (1.0, 0.9, 0.8)),
        reach(Kind.MULTI, 0, POINTS[:1], (None, 0.1, 0.2)),
    ),
    date(2026, 11, 22),
    88,
    1_230_000_000,
)


def test_the_gateway_reads_the_card_that_a_probe_wrote(tmp_path: Path) -> None:
    """Lengths, source and date reach the model's card; what was not probed stays."""
    (tmp_path / "luna.card.yaml").write_text(card_yaml(FOUND))
    text = (
        "version: 1\nupstreams: { o: { kind: openai } }\nmodels:\n"
        "  gpt-4.1: { upstream: o, effective_context: luna.card.yaml }\n"
    )
    document = Document(text, str(tmp_path / "weir.yaml"), {}, RootSection)
    root = RootSection.model_validate(document.plain)
    models, texts = read_cards(root.models, document)
    lengths = models["gpt-4.1"].lengths
    assert lengths == EffectiveLengths(
        literal=16_384, multi=0, source="weir probe", date=date(2026, 11, 22)
    )
    made = bundled_catalog().lookup("gpt-4.1").adjusted(window=None, effective=lengths)
    assert (made.literal, made.semantic, made.multi, made.confidence) == (
        16_384,
        5_000,
        0,
        "probed",
    )
    assert made.measured["literal"].date == "2026-11-22"
    assert made.measured["semantic"].source == "chroma"
    assert texts == card_yaml(FOUND)


def test_what_is_not_known_yet_is_left_to_the_catalog(tmp_path: Path) -> None:
    """A probe stopped before a kind's first length was settled names no length, least of all 0."""
    early = Reach(
        Kind.LITERAL, 0, at_least=False, finished=False, points=(Point(1_024, 9, 9),),
        depths=(1.0, None, None),
    )  # fmt: skip
    found = replace(FOUND, reaches=(early, FOUND.reaches[1]))
    assert card(found)["effective"]["literal"]["tokens"] is None
    lengths = from_card(YAML(typ="safe").load(card_yaml(found)))
    assert (lengths.literal, lengths.semantic, lengths.multi) == (None, None, 0)
    assert summary(card(found))[0][1] == "not known yet"
    assert "literal ?" in curve_svg(found)


def test_a_card_says_how_it_was_measured_and_what_it_cost() -> None:
    """Range, rule, number of questions and money stand in it."""
    data = card(FOUND)
    assert data["how"]["cost_usd"] == "1.23"
    assert (data["how"]["shortest"], data["how"]["longest"]) == (1_024, 32_768)
    assert data["effective"]["literal"]["points"][2]["right"] == 2
    assert summary(data) == [
        ("literal", "16,384", "100% / 90% / 80%"),
        ("multi", "below the shortest length", "- / 10% / 20%"),
    ]


def test_the_curve_is_a_picture_with_every_point_on_it() -> None:
    """Well-formed SVG; a model's name cannot break out of it."""
    root = ET.fromstring(curve_svg(FOUND))  # noqa: S314 - our own picture
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(circles) == 4
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= 760
        assert 0 <= float(circle.attrib["cy"]) <= 400
    assert "house<1>" in "".join(root.itertext())
