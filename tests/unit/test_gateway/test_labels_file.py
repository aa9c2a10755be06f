"""A file of labels is read line by line, and a bad line is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.labels_file import LabelsInvalid, labels

GOOD = '{"prompt": "why?", "weak_correct": 0, "strong_correct": 1, "source": "own"}'


def test_every_line_is_a_label_and_blank_lines_are_none(tmp_path: Path) -> None:
    """The question, both verdicts, and what else the line says."""
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{GOOD}\n\n{GOOD}\n")
    first, second = labels(path)
    assert (first.prompt, first.small, first.large, first.row["source"]) == ("why?", 0, 1, "own")
    assert second == first


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "a label is a JSON object"),
        ('{"prompt": "x"}', "weak_correct"),
        ('{"prompt": "x", "weak_correct": "much", "strong_correct": 1}', "much"),
        ('{"prompt": "x", "weak_correct": 2, "strong_correct": 1}', "outside 0 to 1"),
        ('{"prompt": "x", "weak_correct": NaN, "strong_correct": 1}', "line 2"),
    ],
)
def test_a_line_that_is_no_label_is_told_with_its_number(
    line: str, said: str, tmp_path: Path
) -> None:
    """File, line and what is missing."""
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(LabelsInvalid, match="line 2") as caught:
        list(labels(path))
    assert said in str(caught.value)
