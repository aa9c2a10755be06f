"""Labelled questions: JSONL with `prompt`, `weak_correct` and `strong_correct` (0 to 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson


class LabelsInvalid(ValueError):
    """A file of labels that cannot be read; says file, line and what is missing."""


class Label(NamedTuple):
    """One line: the question, how right each answer was, and all that the line says."""

    prompt: str
    small: float
    large: float
    row: Mapping[str, Any]


def labels(path: Path) -> Iterator[Label]:
    """Every label of a file.

    Raises:
        LabelsInvalid: a line that is no label. OSError: no such file.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
            prompt = str(row["prompt"])
            small, large = float(row["weak_correct"]), float(row["strong_correct"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise LabelsInvalid(
                f"{path}, line {number}: {error!r}; a label is a JSON object with prompt, "
                "weak_correct and strong_correct (0 to 1)"
            ) from None
        if not (0 <= small <= 1 and 0 <= large <= 1):
            raise LabelsInvalid(f"{path}, line {number}: a label lies outside 0 to 1")
        yield Label(prompt, small, large, row)
