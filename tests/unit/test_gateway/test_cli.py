"""`weir`: every command explains itself, exits by the contract, and its words make sense."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
import typer.main
from typer.testing import CliRunner

from billing.schema import upgrade
from gateway.auth import hash_of
from gateway.cli import app
from gateway.settings import parse
from gateway.starter import starter

RUN = CliRunner()
BODY = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": "Hello there"}]}


def commands() -> list[list[str]]:
    """Every command with its path, groups included."""
    found: list[list[str]] = [[]]

    def walk(command: click.Command, path: list[str]) -> None:
        for name, child in getattr(command, "commands", {}).items():
            found.append([*path, name])
            walk(child, [*path, name])

    walk(typer.main.get_command(app), [])
    return found


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A starter file in an empty folder, its environment set."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weir.yaml"
    path.write_text(starter({"OPENAI_API_KEY": "x"}).text)
    return path


@pytest.mark.parametrize("path", commands(), ids=lambda path: " ".join(path) or "weir")
def test_every_command_explains_itself(path: list[str]) -> None:
    """--help says what the command does and exits 0."""
    done = RUN.invoke(app, [*path, "--help"])
    assert done.exit_code == 0
    assert "Usage:" in done.output
    assert len(done.output.split()) > 8


def test_the_commands_of_the_contract_are_there() -> None:
    """What documentation and scripts rely on can be called."""
    known = {" ".join(path) for path in commands()}
    assert known >= {
        "serve", "demo", "dashboard", "init", "explain", "keys new", "keys list", "keys revoke",
        "policy lint", "prices show", "ledger totals", "ledger verify",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["serve", "--port", "99999"],
        ["serve", "--config", "nowhere.yaml"],
        ["serve", "--config", "."],
        ["ledger", "totals", "--from", "yesterday"],
        ["keys", "revoke", "nobody"],
        ["explain", "nowhere.json"],
        ["keys", "new"],
    ],
)
def test_bad_usage_exits_2_with_a_sentence(file: Path, arguments: list[str]) -> None:
    """Exit 2, something to read on stderr, no trace."""
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.strip()
    assert "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "command",
    [
        ["policy", "lint"],
        ["keys", "list"],
        ["ledger", "totals"],
        ["ledger", "verify"],
        ["prices", "show", "gpt-6-luna"],
        ["explain", "-"],
        ["serve"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_file_is_told_by_every_command(file: Path, command: list[str]) -> None:
    """File, line, key and fix on stderr, exit 2."""
    file.write_text(file.read_text().replace("tier: small", "tier: tiny"))
    done = RUN.invoke(app, command)
    assert done.exit_code == 2
    assert "weir.yaml:" in done.stderr
    assert "tier" in done.stderr
    assert "Fix:" in done.stderr


def test_init_writes_once_and_shows_the_key_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file loads, its key is the one that was shown, a second run changes nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-own")
    for name in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    done = RUN.invoke(app, ["init"])
    assert done.exit_code == 0, done.output
    path = tmp_path / "weir.yaml"
    text = path.read_text()
    secret = next(word for word in done.output.split() if word.startswith("weir-"))
    assert hash_of(secret) in text
    assert "sk-own" not in text
    assert "weir serve" in done.output
    again = RUN.invoke(app, ["init"])
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert path.read_text() == text
    assert RUN.invoke(app, ["init", "--force"]).exit_code == 0


def test_a_new_key_is_shown_and_written_nowhere(file: Path) -> None:
    """Without --write no file changes; the hash is the secret's own."""
    before = file.read_bytes()
    done = RUN.invoke(app, ["keys", "new", "chat", "--json"])
    made = json.loads(done.output)
    assert set(made) == {"name", "key", "hash"}
    assert made["hash"] == hash_of(made["key"])
    assert file.read_bytes() == before
    told = RUN.invoke(app, ["keys", "new", "chat"]).output
    assert "shown once" in told
    assert "keys:" in told


def test_a_key_is_written_listed_and_revoked(file: Path) -> None:
    """--write puts the hash into the file, list shows it, revoke marks it."""
    done = RUN.invoke(app, ["keys", "new", "chat", "--write", str(file), "--json"])
    made = json.loads(done.output)
    assert made["hash"] in file.read_text()
    assert made["key"] not in file.read_text()
    rows = json.loads(RUN.invoke(app, ["keys", "list", "--json"]).output)
    assert {"name": "chat", "team": "default", "project": None, "revoked": False} in rows
    assert RUN.invoke(app, ["keys", "revoke", "chat"]).exit_code == 0
    assert "revoked" in RUN.invoke(app, ["keys", "list"]).output
    accounts = parse(file.read_text(), "weir.yaml", {"OPENAI_API_KEY": "x"}).accounts
    assert accounts.named("chat").revoked  # type: ignore[union-attr]  # it is there


def test_lint_says_that_a_file_is_fine(file: Path) -> None:
    """A good file is 0, with what it declares."""
    done = RUN.invoke(app, ["policy", "lint"])
    assert done.exit_code == 0
    assert "fine" in done.output
    assert "2 models" in done.output


def test_explain_shows_measurement_candidates_and_plan(file: Path) -> None:
    """A body in a file, or on stdin, is decided without a provider."""
    body = file.with_name("body.json")
    body.write_text(json.dumps(BODY))
    found = json.loads(RUN.invoke(app, ["explain", str(body), "--json"]).output)
    assert set(found) >= {"measurement", "candidates", "plan", "baseline", "would_send", "cuts"}
    assert found["would_send"]["messages"] == BODY["messages"]
    told = RUN.invoke(app, ["explain", "-"], input=json.dumps(BODY))
    assert told.exit_code == 0, told.output
    assert "prompt tokens" in told.output
    assert "Plan:" in told.output
    for bad, says in ((b"{", "not valid JSON"), (b'{"model":"x","messages":[]}', "messages")):
        body.write_bytes(bad)
        done = RUN.invoke(app, ["explain", str(body)])
        assert done.exit_code == 1
        assert says in done.stderr
    body.write_text(json.dumps({**BODY, "model": "gpt-nowhere"}))
    assert "gpt-6-luna" in RUN.invoke(app, ["explain", str(body)]).stderr


def test_prices_are_shown_for_a_declared_model_and_for_any(file: Path) -> None:
    """Rates a component; a model nobody prices is exit 1 with the remedy."""
    rows = json.loads(RUN.invoke(app, ["prices", "show", "gpt-6.1-sol", "--json"]).output)
    components = {row["component"] for row in rows}
    assert {"input", "output"} <= components
    assert all(float(row["usd_per_mtok"]) >= 0 for row in rows)
    assert "USD/Mtok" in RUN.invoke(app, ["prices", "show", "openai/gpt-6-luna"]).output
    missing = RUN.invoke(app, ["prices", "show", "nobody/nothing"])
    assert missing.exit_code == 1
    assert "price" in missing.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["ledger", "totals"], ["ledger", "verify"], ["ledger", "rollup"], ["dashboard"],
        ["savings"], ["export"], ["close", "2026-01"], ["policy", "replay", "30d"],
        ["reconcile", "bill.csv", "--account", "openai"],
        ["reconcile", "bill.csv", "--account", "openai", "--book"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_ledger_that_is_not_there_is_not_made_by_reading(file: Path, command: list[str]) -> None:
    """Exit 2 and where it was looked for, instead of zeros that nobody spent."""
    file.with_name("bill.csv").write_text("day,cost_usd\n2026-01-02,1\n")
    done = RUN.invoke(app, command)
    assert done.exit_code == 2
    assert f"no ledger at {file.with_name('weir.db').absolute()}" in done.stderr
    assert "`database:`" in done.stderr
    assert not file.with_name("weir.db").exists()


def test_serve_makes_no_folder_for_its_database(file: Path) -> None:
    """A folder that is not there is said to be so; it may be misspelt or not mounted."""
    file.write_text(
        "database: sqlite:///not/there/weir.db\n"
        + file.read_text().replace("\ndatabase:", "\n# database:")
    )
    done = RUN.invoke(app, ["serve"])
    assert done.exit_code == 2
    assert "folder not/there does not exist" in done.stderr
    assert not (file.parent / "not").exists()


def test_an_empty_ledger_has_zero_totals_and_adds_up(file: Path) -> None:
    """Before any request totals are zero and verify is content."""
    upgrade(file.with_name("weir.db"))
    done = RUN.invoke(app, ["ledger", "totals", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["requests"], found["prompt_tokens"], found["completion_tokens"]) == (0, 0, 0)
    assert float(found["cost"]) == 0
    assert RUN.invoke(app, ["ledger", "verify"]).exit_code == 0
