"""`weir dashboard`: the dashboard beside the ledger of a configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.cli_common import DEFAULT_CONFIG, Config, fail, ledger_of, load

LOCAL = "127.0.0.1"
_LOOPBACK = (LOCAL, "localhost", "::1")


def register(app: typer.Typer) -> None:
    """This command belongs to ``weir``."""
    app.command("dashboard")(dashboard)


def dashboard(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str, typer.Option(help="Beyond this machine `people` must log in.")] = LOCAL,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8501,
    without_login: Annotated[
        bool, typer.Option("--without-login", help="Let in whoever reaches it.")
    ] = False,
    gateway_url: Annotated[
        str, typer.Option("--gateway", help="The running gateway that its Playground asks.")
    ] = "http://127.0.0.1:8080",
) -> None:
    """Open the finance dashboard on the same ledger."""
    from gateway.dashboard_facts import facts
    from gateway.server import Shown
    from gateway.server import dashboard as run

    database, settings = ledger_of(config, offline=False), load(config, offline=False)
    if not gateway_url.startswith(("http://", "https://")):
        raise fail(f"--gateway {gateway_url!r} is no address: write http://127.0.0.1:8080")
    if host not in _LOOPBACK and not (without_login or settings.accounts.config.people):
        raise fail(
            f"--host {host} shows every bill to whoever reaches it: name `people` in {config}, "
            f"or say --without-login where something in front asks who is there"
        )
    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    told = {"WEIR_FACTS": facts(settings, now, config), "WEIR_GATEWAY": gateway_url}
    raise typer.Exit(run(Shown(database, host, port, config), told))
