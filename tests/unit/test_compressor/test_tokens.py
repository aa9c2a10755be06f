"""Token counting: two libraries, one number, no network."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import UnknownEncoding
from compressor.tokens import (
    CachedCounter,
    ScaledCounter,
    TiktokenCounter,
    ToktokCounter,
    load_counter,
)

ENCODINGS = ("o200k_base", "cl100k_base", "o200k_harmony")
TEXTS = (
    "",
    " ",
    "hello world",
    "<|endoftext|> <|im_start|> <|fim_prefix|>",
    "naïve café, Привет, 你好世界, こんにちは, مرحبا, 🧠🏳️‍🌈",
    "\ud800 lone \udfff surrogates \ud83d",
    "\x00\x01\r\n\t\u2028\ufeff",
    "def f(x):\n    return x ** 2  # 12345678901234567890\n",
    "a" * 5_000 + " " * 5_000 + "\n" * 5_000,
)


@pytest.fixture(scope="module", params=ENCODINGS)
def pair(request: pytest.FixtureRequest) -> tuple[ToktokCounter, TiktokenCounter]:
    return ToktokCounter(request.param), TiktokenCounter(request.param)


def test_two_libraries_agree_on_chosen_texts(
    pair: tuple[ToktokCounter, TiktokenCounter],
) -> None:
    """toktok and tiktoken give the same count for every chosen text."""
    fast, slow = pair
    assert fast.count_many(TEXTS) == slow.count_many(TEXTS)


@given(text=st.text(st.characters(codec=None), max_size=300))
@settings(max_examples=150, deadline=None)
def test_two_libraries_agree_on_any_text(
    pair: tuple[ToktokCounter, TiktokenCounter], text: str
) -> None:
    """toktok and tiktoken give the same count for any text, surrogates included."""
    fast, slow = pair
    assert fast.count(text) == slow.count(text)


def test_special_tokens_are_ordinary_text() -> None:
    """The text of a special token costs its characters, not one token."""
    assert load_counter("o200k_base").count("<|endoftext|>") > 1


@pytest.mark.parametrize("letter", ["a", " ", "的"])
def test_a_single_run_is_counted_in_linear_time(letter: str) -> None:
    """A million equal characters are counted within seconds, also by tiktoken."""
    text = letter * 1_000_000
    started = time.perf_counter()
    fast = ToktokCounter("o200k_base").count(text)
    slow = TiktokenCounter("o200k_base").count(text)
    assert time.perf_counter() - started < 15
    assert abs(fast - slow) <= 10  # at most one token a slice


def test_p50k_is_counted_from_packaged_files() -> None:
    """An encoding that only tiktoken knows is read from packaged files."""
    assert load_counter("p50k_base").count("hello world") == 2


def test_counting_does_not_import_litellm() -> None:
    """The BPE files are found without importing the package that carries them."""
    before = "litellm" in sys.modules
    TiktokenCounter("cl100k_base")
    assert ("litellm" in sys.modules) == before


def test_an_unknown_encoding_is_named() -> None:
    """An unknown encoding is refused with the list of known ones."""
    with pytest.raises(UnknownEncoding, match="o200k_base"):
        load_counter("gpt9")


def test_a_ratio_scales_up_and_is_not_exact() -> None:
    """A family without a public tokenizer is counted by ratio, rounded up, marked inexact."""
    base, scaled = load_counter("o200k_base"), load_counter("o200k_base", ratio=1.25)
    text = "the quick brown fox jumps over the lazy dog " * 9
    assert scaled.count(text) == -(-base.count(text) * 5 // 4)
    assert base.exact
    assert not scaled.exact


class Counting:
    """A counter that remembers what it was asked."""

    name, exact = "counting", True

    def __init__(self) -> None:
        self.asked: list[str] = []

    def count(self, text: str) -> int:
        """One text's length."""
        return self.count_many([text])[0]

    def count_many(self, texts: list[str]) -> list[int]:
        """Each text's length."""
        self.asked.extend(texts)
        return [len(text) for text in texts]


def test_a_growing_conversation_costs_only_its_new_text() -> None:
    """A text counted before is not counted again, wherever it stands."""
    base = Counting()
    counter = CachedCounter(base)
    turns = [f"turn {number} " * 40 for number in range(5)]
    counter.count_many(turns[:4])
    base.asked.clear()
    assert counter.count_many(turns) == [len(turn) for turn in turns]
    assert base.asked == turns[4:]


def test_the_cache_is_bounded() -> None:
    """However many texts pass through, no more than the allowed entries are kept."""
    counter = CachedCounter(Counting(), entries=100)
    for number in range(1_000):
        counter.count(f"{number} " * 40)
    assert len(counter) <= 101


def test_a_cache_can_be_shared_between_threads() -> None:
    """Threads that share a counter all get right counts."""
    counter = CachedCounter(Counting(), entries=50)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(300):
            text = "x" * (65 + (seed * 7 + number) % 90)
            if counter.count(text) != len(text):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_remembered_is_apart_by_kind() -> None:
    """A derived value is computed once a text and kind, and not mistaken for a count."""
    counter = CachedCounter(Counting())
    text = "w" * 100
    calls: list[str] = []

    def derive(given_text: str) -> str:
        calls.append(given_text)
        return given_text[:3]

    assert [counter.remember(text, "front", derive) for _ in range(3)] == ["www"] * 3
    assert counter.count(text) == 100
    assert len(calls) == 1


def test_scaled_counts_come_in_order() -> None:
    """Counting many scaled texts equals counting each."""
    counter = ScaledCounter(load_counter("cl100k_base"), 1.1)
    texts = ["one", "two words", "three words here" * 30]
    assert counter.count_many(texts) == [counter.count(text) for text in texts]
