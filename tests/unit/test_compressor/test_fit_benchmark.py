"""The benchmark of fits, run as people run it."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.recipe import Recipe, Way
from compressor.tokens import load_counter

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "benchmarks" / "fit.py"
BENCHMARK = runpy.run_path(str(SCRIPT))
OTHERS = runpy.run_path(str(ROOT / "benchmarks" / "_fit_others.py"))
ANSWERS = runpy.run_path(str(ROOT / "benchmarks" / "fit_answers.py"))
FACT = "The harbour master of Lund is called Ewald Brandt."


def row() -> dict[str, object]:
    """One context whose one fact stands in the middle of much else."""
    story = "\n\n".join(
        f"On day {n} the wind came from the west and nothing was said." for n in range(400)
    )
    context = f"{story}\n\n{FACT}\n\n{story}"
    start = context.index(FACT)
    evidence = [{"start": start, "end": start + len(FACT)}]
    unknown = {"question": "Why?", "evidence": []}
    asked = {"question": "Who is the harbour master of Lund?", "evidence": evidence}
    return {"id": "a", "kind": "prose", "context": context, "qas": [asked, unknown]}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], Path]:
    """The report on that one row, and the folder with what was written beside it."""
    folder = tmp_path_factory.mktemp("fit")
    (folder / "rows.jsonl").write_text(json.dumps(row()) + "\n\n", encoding="utf-8")
    command = [sys.executable, str(SCRIPT), "rows.jsonl", "--json", "--no-timing"]
    done = subprocess.run(
        [*command, "--plot", "plot.svg", "--rows", "each.jsonl"],
        cwd=folder, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return json.loads(done.stdout), folder


def test_any_file_of_the_format_is_measured(report: tuple[dict[str, object], Path]) -> None:
    """A file from anywhere is measured by budget and kind; what has no evidence is left out."""
    found, _ = report
    at_4k = found["overall"]["4K"]  # type: ignore[index]
    assert at_4k["questions"] == 1
    assert at_4k["always"] == [100.0, 100.0]
    assert at_4k["head_tail"] == [0.0, 0.0]
    assert found["by_kind"]["prose"]["25%"]["over_budget"] == 0  # type: ignore[index]


def test_every_result_and_a_plot_are_written(report: tuple[dict[str, object], Path]) -> None:
    """The single results say what was refused and how sure it was; the plot is an SVG."""
    _, folder = report
    lines = [json.loads(line) for line in (folder / "each.jsonl").read_text().splitlines()]
    assert {line["budget"] for line in lines} == {"2K", "4K", "8K", "25%", "10%"}
    assert all(0 <= line["confidence"] <= 1 for line in lines)
    assert (folder / "plot.svg").read_text().startswith("<svg")


def test_kept_text_is_found_between_marks() -> None:
    """What stands between gap marks is located in the original, and nothing else is."""
    whole = "alpha beta\ngamma delta\nepsilon"
    spans = BENCHMARK["kept_spans"](whole, "alpha [... 13 characters omitted ...] delta\nepsilon")
    assert [whole[start:end] for start, end in spans] == ["alpha", "delta\nepsilon"]
    evidence = [{"start": 0, "end": 5}, {"start": 11, "end": 16}]
    assert BENCHMARK["covered"](evidence, spans) == 0.5


def test_a_rewritten_text_counts_word_for_word() -> None:
    """Lines that moved are found, reworded ones are not."""
    context = "first line here\nsecond line here"
    evidence = [{"start": 0, "end": len(context)}]
    assert OTHERS["echoed"](context, evidence, "second line here, then first line here") == 1.0
    assert OTHERS["echoed"](context, evidence, "first  line here") == pytest.approx(13 / 27)


def test_a_lossless_form_counts_by_its_words() -> None:
    """Columns hold every word of the records, though not side by side."""
    rows = [{"order": n, "city": f"Town{n}", "price": n + 0.25} for n in range(60)]
    context = json.dumps(rows, indent=1)
    start = context.index('"city": "Town7"')
    evidence = [{"start": start, "end": start + 15}]
    conversation = BENCHMARK["chat"](context, "What is the price for Town7?")
    counter = load_counter("o200k_base")
    measurement = measure(conversation, counter, media_rule("openai_tiles"))
    recipe = Recipe(Way.LOSSLESS, measurement.prompt_tokens // 2)
    fitted = fit(conversation, measurement, recipe, Kit(counter, None))
    assert fitted.way is Way.LOSSLESS
    assert BENCHMARK["survived"](context, evidence, conversation, fitted) == 1.0


def test_a_reply_is_right_when_it_holds_an_answer() -> None:
    """Case and punctuation do not matter, parts of words do not count."""
    right = ANSWERS["is_right"]
    assert right("It was Ewald Brandt.", ("ewald brandt",))
    assert not right("It was in 11986.", ("1986",))


def test_the_interval_holds_the_difference() -> None:
    """A paired bootstrap: the mean lies in its interval, equal replies differ by nothing."""
    gain, low, high = ANSWERS["interval"]([True] * 8 + [False] * 2, [True] * 3 + [False] * 7)
    assert low <= gain == 50.0 <= high
    assert ANSWERS["interval"]([True, False], [True, False]) == (0.0, 0.0, 0.0)


def test_an_interval_over_documents_draws_their_questions_together() -> None:
    """Ten equal answers of one document say no more than one; the mean stays."""
    replies = ([True] * 10 + [False] * 10, [False] * 20)
    alone = ANSWERS["interval"](*replies)
    together = ANSWERS["interval"](*replies, ["a"] * 10 + ["b"] * 10)
    assert alone[0] == together[0] == 50.0
    assert together[1:] == (0.0, 100.0)
    assert 0.0 < alone[1] < alone[2] < 100.0


def test_head_and_tail_take_the_same_number_of_tokens() -> None:
    """Within a few tokens of those given, question and gap included, and never more."""
    counter = load_counter("o200k_base")
    context = str(row()["context"])
    prompt = ANSWERS["ends"](context, "Who is it?", 300, counter)
    assert 295 <= counter.count(prompt) <= 300
    assert prompt.startswith("On day 0")
    assert prompt.endswith("\n\nWho is it?")


def test_a_run_that_was_stopped_asks_nothing_twice(tmp_path: Path) -> None:
    """The journal answers for the model, except where a prompt or the model has changed."""
    path = tmp_path / "answers.jsonl"
    pair = ANSWERS["Pair"]("d", "prose", ("Ewald",), "trimmed prompt", "head and tail")
    asked: list[str] = []

    def model(prompt: str) -> str:
        asked.append(prompt)
        return f"Ewald {len(asked)}"

    first = ANSWERS["Journal"](path, "model a").answered(pair, model)
    with path.open("a") as out:
        out.write('{"key": "torn')
    again = ANSWERS["Journal"](path, "model a")
    assert again.answered(pair, None) == first
    assert asked == ["trimmed prompt", "head and tail"]
    assert ANSWERS["Journal"](path, "model b").answered(pair, None) is None
    other = ANSWERS["Pair"]("d", "prose", ("Ewald",), "trimmed otherwise", "head and tail")
    assert again.answered(other, None) is None
    report = ANSWERS["report"]([first], 600)
    assert (report["questions"], report["right_trimmed"]) == (1, 100.0)
