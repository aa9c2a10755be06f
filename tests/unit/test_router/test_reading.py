"""Only what asks counts; what is merely added, disguised or repeated does not."""

from __future__ import annotations

import pytest

from router.reading import CORE_CHARS, MOST_SENTENCES, clip, options_of, plain_letters, read

CHOICE = "Which gas do plants take in?\nA. oxygen\nB. carbon dioxide\nC. helium\nAnswer:"
STORY = "The harbour was quiet. A woman carried bread. Nobody spoke. The road was closed."
NONSENSE = "bliv krad snorp quel drast vunt jorb klip " * 8


def test_a_question_of_choice_is_read_with_its_options() -> None:
    """The stem, the options and the cue for an answer are told apart."""
    reading = read(CHOICE)
    assert reading.stem == "Which gas do plants take in?"
    assert list(reading.options) == ["oxygen", "carbon dioxide", "helium"]
    assert reading.cued


def test_what_carries_figures_belongs_to_the_question() -> None:
    """Sentences with numbers are steps of a calculation, those without are context."""
    reading = read("Tom likes fruit. He has 3 apples. He buys 4 more. How many apples has Tom now?")
    assert reading.stem == "He has 3 apples.\nHe buys 4 more.\nHow many apples has Tom now?"


@pytest.mark.parametrize(
    "padded",
    [
        f"{STORY} {CHOICE}",
        f"{STORY}\n\n{CHOICE}",
        f"{CHOICE}\n{STORY}",
        f"{CHOICE} {STORY}",
        f"{NONSENSE}\n{CHOICE}",
        CHOICE.replace(" ", "  "),
        CHOICE.replace("Answer", "\n\nAnswer"),
    ],
    ids=["before", "above", "below", "behind", "nonsense", "blanks", "lines"],
)
def test_padding_leaves_the_reading_as_it_was(padded: str) -> None:
    """Filler around a question is not part of it."""
    assert read(padded) == read(CHOICE)


def test_text_behind_the_last_option_is_cut() -> None:
    """An option is not longer than its neighbours because something was written behind it."""
    assert read("Which is red?\nA. sky\nB. blood. " + STORY).options[-1] in ("blood", "blood.")


def test_the_sentence_before_belongs_to_a_question_that_speaks_of_the_same() -> None:
    """What a question refers to is read with it; what only stands before it is not."""
    asked = "Why does the kettle whistle?"
    assert read(f"The kettle stands on a hot stove. {asked}").stem.startswith("The kettle")
    assert read(f"The harbour was quiet. {asked}").stem == asked


def test_a_question_in_small_letters_ends_where_a_sentence_begins() -> None:
    """Without a question mark, what is written behind on the same line is not part of it."""
    asked = "who sang the theme of the old show"
    assert read(f"{asked} The harbour was quiet. The boats lay still.").stem == asked
    assert read(f"{asked} in France The Wire").stem.endswith("The Wire")


def test_words_for_amounts_are_figures() -> None:
    """A sentence that says twice or half is a step of the calculation."""
    assert "twice" in read("Ann has 3 hats. Bea has twice as many. Who has most?").stem


def test_options_are_lines_that_start_with_a_letter() -> None:
    """Lettered lines are options; prose that starts with a capital is not."""
    assert options_of("x\nA. one\n(B) two\nC) three") == ["one", "two", "three"]
    assert options_of("A cat.\nBut no dog.") == []


def test_look_alikes_are_read_as_latin() -> None:
    """Cyrillic twins, full-width forms and invisible signs change nothing."""
    assert plain_letters("Whаt іs thе сapital оf France?") == "What is the capital of France?"
    assert plain_letters("Ｗｈａｔ is it") == "What is it"
    assert plain_letters("ca\u200bpi\u00adtal") == "capital"


def test_another_script_keeps_its_letters() -> None:
    """Russian stays Russian; accents stay."""
    assert plain_letters("Что такое любовь?") == "Что такое любовь?"
    assert plain_letters("Où est le café ?") == "Où est le café ?"


def test_repetition_counts_once() -> None:
    """A sentence said eighty times, and a word said a thousand times, are read once."""
    assert read("Who was it? " + "The cat sat on 2 mats. " * 80).stem.count("cat") == 1
    assert len(read("Who " + "very " * 1_000 + "was it?").stem) < 200


def test_reading_is_bounded() -> None:
    """However long a prompt, what is read of it stays within fixed lengths."""
    long = "\n".join(f"What is {n}?" for n in range(5_000))
    reading = read(long)
    assert len(reading.stem) <= CORE_CHARS
    assert reading.asking <= MOST_SENTENCES
    assert len(clip("x" * 10_000)) < 3_100


def test_nothing_is_read_from_nothing() -> None:
    """An empty prompt has an empty reading."""
    assert read(" \n ").stem == ""
    assert read("").asking == 0
