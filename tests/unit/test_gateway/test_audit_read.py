"""Log files in every shape: records in order, with their lines, in bounded batches."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit_read import BATCH_RECORDS, Batch, batches

ROWS = [{"n": number, "text": 'a "quoted" {brace} [bracket] \\ é\nline'} for number in range(7)]


def found(path: Path) -> list[Batch]:
    return list(batches(path, path.name))


def records(path: Path) -> list[tuple[int, object]]:
    return [(line, json.loads(raw)) for batch in found(path) for line, raw in batch.records]


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    """JSON lines are records; blank lines are none and still count."""
    lines = [json.dumps(row) for row in ROWS]
    path = written(tmp_path / "a.jsonl", lines[0] + "\n\n" + "\n".join(lines[1:]))
    assert records(path) == [(1, ROWS[0]), *((n + 2, ROWS[n]) for n in range(1, 7))]


def test_a_broken_line_is_passed_on_with_its_number(tmp_path: Path) -> None:
    """A line that is no JSON does not stop the others."""
    path = written(tmp_path / "a.jsonl", '{"n": 1}\n{broken\n{"n": 3}\n')
    assert [(line, raw) for batch in found(path) for line, raw in batch.records] == [
        (1, b'{"n": 1}'),
        (2, b"{broken"),
        (3, b'{"n": 3}'),
    ]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrap", [False, True])
def test_an_array_is_read_record_by_record(tmp_path: Path, indent: int | None, wrap: bool) -> None:
    """An array, bare or under `data`, gives its objects with the lines they begin on."""
    data: object = {"data": ROWS, "meta": {"page": 1}} if wrap else ROWS
    path = written(tmp_path / "a.json", json.dumps(data, indent=indent))
    got = records(path)
    assert [row for _, row in got] == ROWS
    text = path.read_text().split("\n")
    if indent:
        assert all(text[line - 1].strip() == "{" for line, _ in got)


def test_objects_over_many_lines(tmp_path: Path) -> None:
    """Pretty-printed objects one after another are records, too."""
    text = "\n".join(json.dumps(row, indent=1) for row in ROWS)
    path = written(tmp_path / "a.json", text.replace("\n{", "\n {"))
    assert [row for _, row in records(path)] == ROWS


def test_an_array_that_breaks_off_says_where(tmp_path: Path) -> None:
    """What came before the break is read; the break is listed once."""
    text = json.dumps(ROWS, indent=1)
    path = written(tmp_path / "a.json", text[: len(text) // 2])
    got = found(path)
    assert [json.loads(raw) for batch in got for _, raw in batch.records] == ROWS[:3]
    assert [why for batch in got for _, why in batch.bad] == [
        "not JSON from here on; the rest is not read"
    ]


def test_csv_rows_are_records(tmp_path: Path) -> None:
    """A CSV's header names the keys; quoted line breaks are inside one record."""
    path = written(tmp_path / "a.csv", 'model,note,n\nm1,"two\nlines",1\nm2,,2\nm3,x,3,4\n')
    assert [row for _, row in records(path)] == [
        {"model": "m1", "note": "two\nlines", "n": "1"},
        {"model": "m2", "n": "2"},
    ]
    assert [why for batch in found(path) for _, why in batch.bad] == [
        "more columns than the header names"
    ]


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    """A .gz is read like the file in it."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)))
    assert [row for _, row in records(path)] == ROWS


def test_batches_are_bounded(tmp_path: Path) -> None:
    """No batch holds more than its share, and the places read only grow."""
    path = written(
        tmp_path / "a.jsonl", "\n".join('{"n": 1}' for _ in range(BATCH_RECORDS * 2 + 1))
    )
    sizes = [len(batch.records) for batch in found(path)]
    assert sizes == [BATCH_RECORDS, BATCH_RECORDS, 1]
    places = [batch.read_bytes for batch in found(path)]
    assert places == sorted(places)
    assert places[-1] == path.stat().st_size


@pytest.mark.parametrize("text", ["", "\n\n", "[]", '{"data": []}'])
def test_an_empty_log_has_no_records(tmp_path: Path, text: str) -> None:
    """Nothing in a file is nothing read, and no error."""
    assert records(written(tmp_path / "a.json", text)) == []


@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=40), max_size=3)))
@settings(max_examples=60, deadline=None)
def test_any_array_comes_back_whole(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    """Whatever stands in the texts, an array's objects come back one for one."""
    path = tmp_path_factory.mktemp("any") / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8", errors="surrogatepass")
    assert [row for _, row in records(path)] == rows
