"""Keys in a weir.yaml: added and revoked in place, everything else kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.keyfile import add_key, revoke_key
from gateway.settings import parse
from gateway.starter import starter

NEW = "sha256:" + "a" * 64
ENVIRON = {"OPENAI_API_KEY": "sk"}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A starter file on disk, its environment set."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    path = tmp_path / "weir.yaml"
    path.write_text(starter(ENVIRON).text)
    path.chmod(0o600)
    return path


def test_a_key_is_added_and_the_file_still_says_all_it_said(file: Path) -> None:
    """The new key works, comments and references stay, and so do the file's rights."""
    before = file.read_text()
    add_key(file, "second", NEW)
    after = file.read_text()
    settings = parse(after, "weir.yaml", ENVIRON)
    assert {key.name for key in settings.accounts.keys.values()} == {"first", "second"}
    assert settings.accounts.named("second").team == "default"  # type: ignore[union-attr]  # it is there
    comments = [line.split("#")[1].strip() for line in before.splitlines() if "#" in line]
    assert all(comment in after for comment in comments)
    assert "${OPENAI_API_KEY}" in after
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in file.parent.iterdir()) == ["weir.yaml"]


def test_a_name_that_is_taken_changes_nothing(file: Path) -> None:
    """The file is as it was, and the message names the way out."""
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="choose another name"):
        add_key(file, "first", NEW)
    assert file.read_bytes() == before


def test_a_bad_hash_never_reaches_the_file(file: Path) -> None:
    """What would not load afterwards is not written."""
    before = file.read_bytes()
    with pytest.raises(ConfigError):
        add_key(file, "second", "sha256:short")
    assert file.read_bytes() == before


def test_a_revoked_key_keeps_its_entry(file: Path) -> None:
    """Revoking marks the key in the file; doing it twice is the same."""
    for _ in range(2):
        revoke_key(file, "first")
        key = parse(file.read_text(), "weir.yaml", ENVIRON).accounts.named("first")
        assert key is not None
        assert key.revoked


def test_an_unknown_key_cannot_be_revoked(file: Path) -> None:
    """The message lists the keys there are."""
    with pytest.raises(ConfigError, match="known: first"):
        revoke_key(file, "nobody")


def test_a_file_that_is_not_there_says_what_makes_one(tmp_path: Path) -> None:
    """Without a file the fix is `weir init`."""
    with pytest.raises(ConfigError, match="weir init"):
        add_key(tmp_path / "none.yaml", "k", NEW)


SEVERAL = f"""\
upstreams:
  sim: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }}
models:
  one: {{ upstream: sim }}
teams:
  a: {{ keys: [k], projects: {{ chat: {{}} }} }}
  b: {{ budget: 5 per day }}
keys:
  k: sha256:{"b" * 64}
"""


def test_a_key_goes_where_it_is_told_to(tmp_path: Path) -> None:
    """A team or a project of a team, and what is given back says which."""
    path = tmp_path / "weir.yaml"
    path.write_text(SEVERAL)
    assert add_key(path, "one", NEW, "a/chat") == "a/chat"
    assert add_key(path, "two", NEW.replace("a" * 9, "c" * 9), "b") == "b"
    accounts = parse(path.read_text(), "weir.yaml", ENVIRON).accounts
    found = {key.name: (key.team, key.project) for key in accounts.keys.values()}
    assert found == {"k": ("a", None), "one": ("a", "chat"), "two": ("b", None)}


@pytest.mark.parametrize("place", [None, "c", "a/none", ""])
def test_a_key_without_a_certain_place_is_not_written(tmp_path: Path, place: str | None) -> None:
    """Where several could have it the file stays as it was, and the places are named."""
    path = tmp_path / "weir.yaml"
    path.write_text(SEVERAL)
    with pytest.raises(ConfigError, match=r"--team.*a, a/chat, b"):
        add_key(path, "one", NEW, place)
    assert path.read_text() == SEVERAL


@pytest.mark.parametrize("name", ["", " ", "a b", "ä", "x" * 65, "-x"])
def test_a_name_that_is_none_is_refused(file: Path, name: str) -> None:
    """Nothing is written, and the message says what a name is."""
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="is not a name"):
        add_key(file, name, NEW)
    assert file.read_bytes() == before
