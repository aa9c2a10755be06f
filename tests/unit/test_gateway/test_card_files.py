"""A card file that cannot be used says where, why and what would help."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.settings import parse

HEAD = "version: 1\nupstreams: { o: { kind: openai, api_key: k } }\nmodels:\n"


def settings(folder: Path, reads: str, window: str = "") -> object:
    text = f"{HEAD}  m: {{ upstream: o, effective_context: {reads}{window} }}\n"
    return parse(text, str(folder / "weir.yaml"), {}).models["m"].lengths


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("effective: { vibes: 3 }", "unknown kind 'vibes'"),
        ("literal: 5", "mapping `effective:`"),
        ("effective: { literal: many }", "valid integer"),
        ("effective: {", "cannot be used"),
        ("effective: { literal: 9000 }", "beyond context_window 8,192"),
    ],
    ids=["unknown-kind", "no-mapping", "no-number", "no-yaml", "beyond-the-window"],
)
def test_a_card_that_cannot_be_used_is_refused(card: str, said: str, tmp_path: Path) -> None:
    """File, line and key of the configuration, and the card's own fault."""
    (tmp_path / "c.yaml").write_text(card)
    with pytest.raises(ConfigError) as error:
        settings(tmp_path, "c.yaml", ", context_window: 8192")
    assert said in str(error.value)
    assert "effective_context" in str(error.value)


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read"):
        settings(tmp_path, "nowhere.yaml")


def test_lengths_may_be_written_where_they_are_used(tmp_path: Path) -> None:
    """One number, or a number by kind of reading."""
    assert settings(tmp_path, "24000") == 24_000
    lengths = settings(tmp_path, "{ literal: 65536, multi: 8000 }")
    assert (lengths.literal, lengths.semantic, lengths.multi) == (65_536, None, 8_000)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="above 0"):
        settings(tmp_path, "0")


def test_the_policy_hash_follows_the_card(tmp_path: Path) -> None:
    """Another card is another policy, though weir.yaml is the same."""
    text = f"{HEAD}  m: {{ upstream: o, effective_context: c.yaml }}\n"
    hashes = set()
    for tokens in (4_000, 8_000):
        (tmp_path / "c.yaml").write_text(f"effective: {{ literal: {tokens} }}")
        hashes.add(parse(text, str(tmp_path / "weir.yaml"), {}).hash)
    assert len(hashes) == 2
