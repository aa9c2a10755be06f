"""Each text is made smaller by what suits it, and never made larger."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from compressor.condenser import Condenser
from compressor.kit import Kit
from compressor.summarize import GAP, ExtractiveSummarizer
from compressor.tokens import TokenCounter, load_counter

PROSE = " ".join(
    f"Item {at} of the plan was discussed at length by everybody in the hall." for at in range(40)
)
CODE = "\n".join(f"def f{at}(x):\n    return x + {at}" for at in range(60))


@pytest.fixture(scope="module")
def counter() -> TokenCounter:
    return load_counter("o200k_base")


class Recorder:
    """A summariser that answers with one sentence and notes what it was asked."""

    name = "recorder"

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.asked: list[tuple[str, int]] = []

    def summarize(self, texts: Sequence[str], max_tokens: int, question: str) -> list[str]:
        """The answer, for each text."""
        del question
        self.asked += [(text, max_tokens) for text in texts]
        return [self.answer for _ in texts]


def test_only_prose_goes_to_a_model(counter: TokenCounter) -> None:
    """Code, JSON and short texts are never rewritten in a model's words."""
    recorder = Recorder("Item 1 was discussed.")
    texts = [PROSE, CODE, json.dumps([{"a": at} for at in range(200)]), "Yes, do that."]
    results = Condenser(Kit(counter, summarizer=recorder)).condense(texts, 8.0, [1.0] * 4)
    assert [text for text, _ in recorder.asked] == [PROSE]
    assert results[0].text == "Item 1 was discussed."
    assert results[0].dropped == ((0, len(PROSE)),)
    assert all(line in CODE for line in results[1].text.splitlines() if line.strip() != GAP)
    assert json.loads(results[2].text)[0] == {"a": 0}
    assert results[3].text in {"Yes, do that.", GAP}


@pytest.mark.parametrize(
    "answer", ["", "Item 7000 was discussed.", "Word " * 2_000], ids=["empty", "invented", "long"]
)
def test_a_bad_answer_is_an_extract(counter: TokenCounter, answer: str) -> None:
    """Nothing, an invention, or too much: the text's own sentences are used."""
    condenser = Condenser(Kit(counter, summarizer=Recorder(answer)))
    result = condenser.condense([PROSE], 8.0, [1.0])[0]
    assert (
        result
        == ExtractiveSummarizer(None, counter).extract([PROSE], -(-counter.count(PROSE) // 8))[0]
    )


def test_a_budget_is_kept_together_and_each_alone(counter: TokenCounter) -> None:
    """``condense`` keeps one budget for all short texts, ``condense_to`` one for each."""
    condenser = Condenser(Kit(counter))
    texts = [PROSE, CODE, PROSE.replace("plan", "map")]
    total = sum(counter.count_many(texts))
    results = condenser.condense(texts, 4.0, [1.0] * 3)
    assert sum(counter.count_many([result.text for result in results])) <= -(-total // 4)
    limited = condenser.condense_to(texts, [50, 60, 10_000], "item 7")
    assert counter.count(limited[0].text) <= 50
    assert counter.count(limited[1].text) <= 60
    assert limited[2].text == texts[2]


def test_no_text_grows(counter: TokenCounter) -> None:
    """What cannot be made smaller is returned as it is, with nothing dropped."""
    texts = ["ok", "", "…", '{"a":1}']
    results = Condenser(Kit(counter)).condense(texts, 10.0, [1.0] * 4)
    assert [result.text for result in results] == texts
    assert all(result.dropped == () for result in results)


def test_the_name_tells_who_condensed(counter: TokenCounter) -> None:
    """Another summariser, or another tokenizer, is another name: memories do not mix."""
    names = {
        Condenser(Kit(counter)).name,
        Condenser(Kit(counter, summarizer=Recorder("x"))).name,
        Condenser(Kit(load_counter("cl100k_base"))).name,
    }
    assert len(names) == 3
    given = ExtractiveSummarizer(None, counter)
    assert Condenser(Kit(counter, summarizer=given)).name == Condenser(Kit(counter)).name


def test_loose_json_stays_as_it_is(counter: TokenCounter) -> None:
    """JSON with a repeated key or NaN is neither cut nor read as prose."""
    loose = [
        '{"a": 1, "a": 2, "b": "' + "word " * 300 + '"}',
        '{"a": NaN, "b": "' + "w " * 99 + '"}',
    ]
    condenser = Condenser(Kit(counter))
    assert [one.text for one in condenser.condense(loose, 10.0, [1.0, 1.0])] == loose
    assert [one.text for one in condenser.condense_to(loose, [9, 9], "")] == loose
