"""What is remembered of provider caches, and what is learned of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from billing.shadow_cache import Prefix
from router.catalog import bundled_catalog, default_card
from router.warmth import (
    AGES_MS,
    ALIVE,
    DAY_MS,
    WRITE,
    CacheReport,
    CacheTerms,
    Found,
    WarmBook,
    cache_terms,
)

OWNER = ("openai", "gpt-6.1-sol")
AT = 1_780_272_000_000
TERMS = CacheTerms(300_000)


def prompt(*turns: str) -> tuple[Prefix, ...]:
    """Prefixes of 2,000 tokens a turn."""
    digest = hashlib.blake2b(digest_size=16)
    found = []
    for number, turn in enumerate(turns, 1):
        digest.update(turn.encode())
        found.append(Prefix(digest.digest(), 2_000 * number))
    return tuple(found)


def report(age_ms: int, share: float, **more: int) -> CacheReport:
    """A request of 10,000 tokens that was thought to be warm to 8,000."""
    base = CacheReport(Found(8_000, age_ms), 10_000, 10_000, int(8_000 * share), 0)
    return replace(base, **more)


def test_the_longest_prefix_that_was_sent_is_found() -> None:
    """A conversation that went on is warm as far as it was before; a fork up to the fork."""
    book = WarmBook()
    book.note(OWNER, prompt("a", "b"), AT)
    assert book.find(OWNER, prompt("a", "b", "c"), AT + 5_000) == Found(4_000, 5_000)
    assert book.find(OWNER, prompt("a", "x", "c"), AT + 5_000) == Found(2_000, 5_000)
    assert book.find(OWNER, prompt("z"), AT) == Found()


@pytest.mark.parametrize("other", [("azure", "gpt-6.1-sol"), ("openai", "gpt-6-luna")])
def test_caches_of_other_accounts_and_models_are_apart(other: tuple[str, str]) -> None:
    """What one account or model holds, another does not."""
    book = WarmBook()
    book.note(OWNER, prompt("a"), AT)
    assert book.find(other, prompt("a"), AT) == Found()


def test_a_prefix_is_forgotten_after_a_day() -> None:
    """No provider's cache is counted on for longer than a day."""
    book = WarmBook()
    book.note(OWNER, prompt("a"), AT)
    assert book.find(OWNER, prompt("a"), AT + DAY_MS) == Found()


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    """However much is sent, no more than the limit is remembered."""
    book = WarmBook(limit=50)
    for number in range(200):
        book.note(OWNER, prompt("kept"), AT + number)
        book.note(OWNER, prompt(f"turn {number}"), AT + number)
    assert len(book) == 50
    assert book.find(OWNER, prompt("kept"), AT + 200).tokens == 2_000
    assert book.find(OWNER, prompt("turn 0"), AT + 200) == Found()
    for number in range(5_000):
        book.learn(("account", f"model {number}"), report(1_000, 1.0))
    assert book.habit(("account", "model 0")) is None


def test_before_any_report_the_card_is_believed() -> None:
    """Within the lifetime most of the prefix is expected, beyond it nothing, nor a small one."""
    book = WarmBook()
    assert book.expected(OWNER, Found(10_000, 60_000), TERMS) == int(10_000 * ALIVE)
    assert book.expected(OWNER, Found(10_000, 400_000), TERMS) == 0
    assert book.expected(OWNER, Found(1_000, 60_000), TERMS) == 0


def test_a_cache_that_never_hits_is_learned() -> None:
    """Reports without cached tokens bring the expectation down, at that age alone."""
    book = WarmBook()
    for _ in range(40):
        book.learn(OWNER, report(30_000, 0.0))
    assert book.chance(OWNER, 30_000, TERMS) < 0.15
    assert book.chance(OWNER, 200_000, TERMS) == ALIVE


def test_a_cache_that_lives_longer_than_promised_is_learned() -> None:
    """Hits after the card's lifetime raise the expectation there, and a change is followed."""
    book = WarmBook()
    for _ in range(40):
        book.learn(OWNER, report(1_200_000, 1.0))
    assert book.chance(OWNER, 1_200_000, TERMS) > 0.85
    for _ in range(80):
        book.learn(OWNER, report(1_200_000, 0.0))
    assert book.chance(OWNER, 1_200_000, TERMS) < 0.35


def test_the_smallest_cached_prompt_is_learned() -> None:
    """A hit in a prompt below the card's minimum says that smaller ones are cached, too."""
    book = WarmBook()
    terms = CacheTerms(300_000, minimum_tokens=4_096)
    found = Found(1_500, 1_000)
    assert book.expected(OWNER, found, terms) == 0
    book.learn(OWNER, CacheReport(found, 1_600, 1_600, 1_408, 0))
    assert book.expected(OWNER, found, terms) > 0


def test_a_cache_nobody_knows_is_learned_from_nothing() -> None:
    """A model without cache figures on its card is expected to be cold until it reports hits."""
    book, terms = WarmBook(), cache_terms(default_card("house"), "house", marked=False)
    assert book.chance(OWNER, 1_000, terms) == 0
    for _ in range(20):
        book.learn(OWNER, report(1_000, 1.0))
    assert book.chance(OWNER, 1_000, terms) > 0.8


def test_anthropic_keeps_what_is_marked() -> None:
    """Without a mark nothing is expected and nothing written; with one, writes are charged."""
    card = bundled_catalog().lookup("claude-sonnet-5-5")
    book = WarmBook()
    bare, marked = (cache_terms(card, "anthropic", marked=mark) for mark in (False, True))
    assert book.expected(OWNER, Found(10_000, 1_000), bare) == 0
    assert book.expected(OWNER, Found(10_000, 1_000), marked) == int(10_000 * ALIVE)
    assert (book.writes(OWNER, bare), book.writes(OWNER, marked)) == (None, WRITE)


def test_a_provider_that_charges_for_writing_is_found_out() -> None:
    """Written tokens in most reports mean that new text costs the write rate."""
    book = WarmBook()
    assert book.writes(OWNER, TERMS) is None
    for _ in range(5):
        book.learn(OWNER, report(1_000, 0.0, written_tokens=9_000))
    assert book.writes(OWNER, TERMS) == WRITE


def test_a_report_of_nothing_teaches_nothing() -> None:
    """No prompt, nothing expected, or a prefix older than a day leave the habits alone."""
    book = WarmBook()
    book.learn(OWNER, report(1_000, 1.0, prompt_tokens=0))
    assert book.habit(OWNER) is None
    book.learn(OWNER, CacheReport(Found(), 10_000, 10_000, 0, 0))
    book.learn(OWNER, report(AGES_MS[-1] + 1, 1.0))
    habit = book.habit(OWNER)
    assert habit is not None
    assert sum(habit.trials) == 0
