"""A summary may change words, never facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.faithful import exact_things, kept_exact, unsupported

SOURCE = (
    "On 14 March 2024 Dr. Keller moved 1,250 units to Hamburg at $3.50 each, a rise of 12 "
    'percent. The job in /srv/etl/load_daily.py failed with "connection refused" after 30 s; '
    "retry_count was 3 and the URL https://api.example.org/v2/items?id=77 gave HTTP 503. "
    "parseConfig() reads config.yaml. Between 40 and 50 users of NATO servers wrote to "
    "ops@example.org. Twelve of them waited."
)


@pytest.mark.parametrize(
    "summary",
    [
        "Keller moved 1250 units to Hamburg on 14 March 2024.",
        "The price was $3.50, up 12%.",
        "Each cost 3.50.",
        "load failed in /srv/etl/load_daily.py after 30 s, retry_count 3.",
        'It said "Connection   refused" and https://api.example.org/v2/items?id=77 gave 503.',
        "parseConfig() reads config.yaml; 40-50 NATO users wrote to ops@example.org.",
        "12 of them waited.",
        "",
        "Nothing exact is said here at all.",
    ],
)
def test_a_summary_that_only_repeats_facts_is_supported(summary: str) -> None:
    """Facts in other words, spelling of numbers included, are no invention."""
    assert unsupported(summary, SOURCE) == []


@pytest.mark.parametrize(
    ("summary", "invented"),
    [
        ("Keller moved 1,251 units.", "1251"),
        ("Keller moved 125 units.", "125"),
        ("It failed after 3.5 s and 50 times.", "3.5"),
        ("The price was €3.50.", "€3.50"),
        ("A rise of 30%.", "30%"),
        ("The file /srv/etl/load.py failed.", "/srv/etl/load.py"),
        (
            "See https://api.example.org/v2/items?id=78 for it.",
            "https://api.example.org/v2/items?id=78",
        ),
        ('It said "connection reset".', "connection reset"),
        ("The variable retry_counts was set.", "retry_counts"),
        ("Then parseConf() was called.", "parseConf"),
        ("The goods went to Bremen.", "Bremen"),
        ("The goods went to EFTA countries.", "EFTA"),
        ("There were seven of them.", "seven"),
        ("It happened in 2025.", "2025"),
        ("Write to admin@example.org today.", "admin@example.org"),
    ],
)
def test_an_invented_fact_is_named(summary: str, invented: str) -> None:
    """A number, path, URL, identifier, quotation or name that the source lacks is returned."""
    assert any(invented in found for found in unsupported(summary, SOURCE))


@given(st.text(max_size=300))
def test_every_text_supports_itself(text: str) -> None:
    """No text, however strange, claims more than itself, and none breaks the check."""
    assert unsupported(text, text) == []


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=0, max_value=10**9))
def test_another_number_is_never_supported(said: int, true: int) -> None:
    """A number is supported by that number and no other, whatever digits they share."""
    assert (unsupported(f"Total {said}", f"The total was {true}.") == []) == (said == true)


def test_hostile_text_is_checked_in_linear_time() -> None:
    """Half a megabyte of near-matches takes seconds at the very most."""
    hostile = "a/" * 50_000 + "1," * 50_000 + '"' * 50_000 + "x_" * 50_000
    assert unsupported("a/b/c 7", hostile) == ["a/b/c", "7"]


def test_what_is_kept_is_a_share_of_the_exact_things() -> None:
    """Keeping both of two numbers is all, keeping one is half, of nothing exact is all."""
    source = "There were 17 boxes and 23 crates."
    assert exact_things(source) == ["17", "23"]
    assert kept_exact("boxes: 17; crates: 23", source) == 1.0
    assert kept_exact("boxes: 17", source) == 0.5
    assert kept_exact("", "nothing to keep") == 1.0
