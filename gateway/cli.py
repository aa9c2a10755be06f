"""`weir`: one short function a command. Exit codes: 0 fine, 1 a check failed, 2 bad usage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from billing.errors import BillingError, LedgerMissing
from gateway import (
    cli_analyze,
    cli_dashboard,
    cli_doctor,
    cli_finance,
    cli_ledger,
    cli_probe,
    cli_router,
)
from gateway.cli_audit import register
from gateway.cli_common import (
    DEFAULT_CONFIG,
    AsJson,
    Config,
    check_folder,
    fail,
    load,
)
from gateway.cli_policy import register as register_policy
from gateway.errors import ConfigError

app = typer.Typer(
    name="weir",
    help="Tokenweir: the LLM bill you can audit, and the gateway that makes it smaller.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="Virtual keys: made here, kept as hashes.", no_args_is_help=True)
policy_app = typer.Typer(help="Check and read the policy.", no_args_is_help=True)
prices_app = typer.Typer(help="The price book.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(policy_app, name="policy")
app.add_typer(prices_app, name="prices")

register(app, policy_app)
register_policy(policy_app, prices_app)
cli_analyze.register(app)
cli_dashboard.register(app)
cli_finance.register(app)
cli_ledger.register(app)
cli_probe.register(app)
cli_doctor.register(app)
cli_router.register(app)


@app.command()
def serve(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks one.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    log_level: Annotated[str, typer.Option(help="debug, info, warning, error.")] = "warning",
) -> None:
    """Run the gateway."""
    from gateway.server import Where
    from gateway.server import serve as run

    settings = load(config)
    check_folder(settings.database)
    where = Where(
        host or settings.server.host,
        settings.server.port if port is None else port,
        workers,
    )
    raise typer.Exit(run(settings, config, where, log_level))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Exit after the bill.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Gateway port; 0 picks one.")] = 0,
    dashboard: Annotated[bool, typer.Option(help="Start the dashboard too.")] = True,
) -> None:
    """Real prompts through the real gateway to simulated providers, then the bill."""
    from gateway.demo import run_demo

    raise typer.Exit(run_demo(once=once, port=port, dashboard=dashboard))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
) -> None:
    """Write a commented starter weir.yaml for the API keys found in the environment."""
    from gateway.starter import starter

    if path.exists() and not force:
        raise fail(f"{path} exists; `--force` overwrites it")
    made = starter(os.environ)
    path.write_text(made.text, encoding="utf-8")
    typer.echo(f"Wrote {path} for: {', '.join(made.providers)}.")
    typer.echo(f"Your key, shown once: {made.secret}")
    typer.echo(f"Next: weir serve --config {path}")


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="A JSON request body; - reads stdin.")],
    config: Config = DEFAULT_CONFIG,
    key: Annotated[str | None, typer.Option(help="Decide as for this key's policy.")] = None,
    as_json: AsJson = False,
) -> None:
    """What would be done with a request body; nothing is sent, nothing billed."""
    from gateway.dry import explain_body

    raw = sys.stdin.buffer.read() if str(file) == "-" else _bytes(file)
    settings = load(config, offline=True)
    try:
        found = explain_body(settings, raw, key)
    except Exception as error:  # noqa: BLE001 - whatever it was, said in one line
        raise fail(f"{file}: {error}", 1) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        from gateway.tables import print_explain

        print_explain(found)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail(f"{path} cannot be read: {error.strerror}") from None


@keys_app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="The key's name in the policy.")],
    write: Annotated[Path | None, typer.Option(help="Add the hash to this weir.yaml.")] = None,
    team: Annotated[
        str | None,
        typer.Option(metavar="TEAM[/PROJECT]", help="Whose key; needed if there are several."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key: the secret is printed once, the policy holds its hash."""
    from gateway import auth
    from gateway.keyfile import add_key, check_name

    secret = auth.new_secret()
    hashed = auth.hash_of(secret)
    try:
        check_name(name)
        place = None if write is None else add_key(write, name, hashed, team)
    except ConfigError as error:
        raise fail(str(error)) from None
    if as_json:
        made = {"name": name, "key": secret, "hash": hashed}
        typer.echo(json.dumps(made if place is None else {**made, "place": place}))
        return
    typer.echo(f"key   {secret}   (shown once)")
    typer.echo(f"hash  {hashed}")
    if place is not None:
        typer.echo(f"Added to {write}: {name} is a key of {place}.")
    else:
        typer.echo(f"Add to weir.yaml under `keys:`   {name}: {hashed}")
        typer.echo("and name it under `keys:` of a team or project.")


@keys_app.command("list")
def keys_list(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """The keys the policy knows."""
    accounts = load(config).accounts
    rows = [
        {"name": k.name, "team": k.team, "project": k.project, "revoked": k.revoked}
        for k in accounts.keys.values()
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        place = f"{row['team']}/{row['project']}" if row["project"] else str(row["team"])
        typer.echo(f"{row['name']:<24} {place}{'  revoked' if row['revoked'] else ''}")
    if not rows:
        typer.echo("No keys yet: `weir keys new NAME` makes one.")


@keys_app.command("revoke")
def keys_revoke(
    name: Annotated[str, typer.Argument()], write: Annotated[Path, typer.Option()] = DEFAULT_CONFIG
) -> None:
    """Mark a key revoked in the policy file; a running gateway follows within seconds."""
    from gateway.keyfile import revoke_key

    try:
        revoke_key(write, name)
    except ConfigError as error:
        raise fail(str(error)) from None
    typer.echo(f"{name} is revoked in {write}.")


def main() -> None:
    """The console entry point."""
    try:
        app()
    except LedgerMissing as error:
        typer.echo(f"weir: {error}", err=True)
        raise SystemExit(2) from None
    except BillingError as error:  # the ledger, mostly: it says itself what is wrong
        typer.echo(f"weir: {error}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
