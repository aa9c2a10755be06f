"""`weir ledger backup`, called as a shell would."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from billing.store import open_tables
from gateway.cli import app

RUN = CliRunner()
MODELS = """
upstreams: { house: { kind: openai, base_url: "http://127.0.0.1:9/v1" } }
models: { local: { upstream: house, free: true } }
"""


def test_a_backup_names_its_files_and_is_never_written_over(tmp_path: Path) -> None:
    """The copies are listed with their sizes; a second run into the same folder exits 2."""
    config = tmp_path / "weir.yaml"
    config.write_text(f"database: sqlite:///{tmp_path}/weir.db\n{MODELS}")
    open_tables(f"sqlite:///{tmp_path}/weir.db").close()
    command = ["ledger", "backup", str(tmp_path / "copy"), "--config", str(config)]
    done = RUN.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert f"{tmp_path}/copy/weir.db (" in done.stdout
    again = RUN.invoke(app, command)
    assert again.exit_code == 2
    assert "exists already: name an empty folder" in again.output


def test_a_server_ledger_is_left_to_its_own_tools(tmp_path: Path) -> None:
    """With PostgreSQL the command says what to use, and exits 2."""
    config = tmp_path / "weir.yaml"
    config.write_text(f"database: postgresql://x@127.0.0.1/none\n{MODELS}")
    done = RUN.invoke(app, ["ledger", "backup", str(tmp_path), "--config", str(config)])
    assert done.exit_code == 2
    assert "pg_dump" in done.output
