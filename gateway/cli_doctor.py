"""`weir doctor`: what to mend before a client finds it."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, load

_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def register(app: typer.Typer) -> None:
    """The command belongs to ``weir``."""
    app.command("doctor")(doctor)


def doctor(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check configuration, upstreams, store, clock and model files; say what to fix.

    Exits 1 where something would keep requests from being served.
    """
    from gateway.doctor import examine

    found = []
    for finding in examine(load(config)):
        found.append(finding)
        if not as_json:
            typer.echo(f"{_MARKS[finding.level]}  {finding.check}: {finding.said}")
            if finding.fix:
                typer.echo(f"      fix: {finding.fix}")
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)
