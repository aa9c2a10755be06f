"""`weir policy lint|grant`, `weir prices check|diff|show`: one short function a command."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, load


def register(policy: typer.Typer, prices: typer.Typer) -> None:
    """These commands belong to ``weir policy`` and ``weir prices``."""
    policy.command("lint")(policy_lint)
    policy.command("grant")(policy_grant)
    prices.command("show")(prices_show)
    prices.command("check")(prices_check)
    prices.command("diff")(prices_diff)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a command's clock


def policy_lint(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Load the policy as the gateway would; say what is wrong, or what it declares.

    Exits 1 where something will not do what was meant; warnings alone exit 0.
    """
    from billing.policy_lint import lint
    from gateway.lint_models import lint_models

    settings = load(config)
    found = [*lint_models(settings), *lint(settings.accounts, _now())]
    if as_json:
        rows = [{"where": f.where, "text": f.text, "error": f.error} for f in found]
        typer.echo(json.dumps(rows))
    else:
        for one in found:
            typer.echo(f"{'error' if one.error else 'warning'}: {one.where}: {one.text}")
        word = "fine" if not any(one.error for one in found) else "loads, but see above"
        typer.echo(
            f"{config}: {word}. {len(settings.upstreams)} upstreams, {len(settings.models)} "
            f"models, {len(settings.accounts.keys)} keys; policy {settings.hash[:19]}"
        )
    if any(one.error for one in found):
        raise typer.Exit(1)


def policy_grant(
    node: Annotated[str, typer.Argument(help="organisation, TEAM, TEAM/PROJECT or .../KEY.")],
    amount: Annotated[str, typer.Argument(help="USD on top of its budgets, such as 500.")],
    until: Annotated[str, typer.Option(help="A date (its local midnight), or an instant.")],
    why: Annotated[str, typer.Option(help="For whoever reads the ledger.")],
    budget: Annotated[str, typer.Option(help="One budget, such as month; * is all.")] = "*",
    by: Annotated[str | None, typer.Option(help="Who grants it; by default this account.")] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Append an approval to the ledger; a running gateway follows within seconds.

    Limits are not edited: while the grant runs, the node's budgets are higher by the amount
    and its ladder asks for no approval. Budgets above the node hold as they are.
    """
    from billing.errors import LedgerUnavailable
    from gateway.policy_grant import Wish, grant

    settings = load(config, offline=True)
    try:
        made = grant(settings, _now(), Wish(node, amount, until, why, budget, by))
    except (ValueError, LedgerUnavailable) as error:
        raise fail(str(error)) from None
    typer.echo(made)


def prices_show(
    model: Annotated[str, typer.Argument(help="A declared model, or provider/model.")],
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """The prices in force now for one model."""
    from gateway.dry import price_rows

    settings = load(config, offline=True) if config.exists() else None
    try:
        rows = price_rows(settings, model, _now())
    except Exception as error:  # noqa: BLE001 - whatever it was, said in one line
        raise fail(str(error), 1) from None
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        fee = row.get("usd_per_call")
        cost = f"{fee:>12} USD/call" if fee else f"{row['usd_per_mtok']:>12} USD/Mtok"
        typer.echo(f"{row['component']:<22} {cost}  {row['rule']}")


def prices_check(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Two-source drift, models without a price, prices and contracts that change soon.

    Exits 1 when something wants a look.
    """
    from billing.errors import LedgerUnavailable
    from gateway.prices_command import check

    try:
        found = check(load(config, offline=True), _now())
    except LedgerUnavailable as error:
        raise fail(str(error)) from None
    if as_json:
        rows = [
            {"kind": f.kind, "subject": f.subject, "text": f.text, "look": f.look} for f in found
        ]
        typer.echo(json.dumps(rows))
    else:
        for one in found:
            mark = "!" if one.look else " "
            typer.echo(f"{mark} {one.kind:<11} {one.subject:<28} {one.text}")
        look = sum(one.look for one in found)
        typer.echo(f"{look} to look at." if look else "Nothing wants a look.")
    if any(one.look for one in found):
        raise typer.Exit(1)


def prices_diff(
    before: Annotated[str, typer.Argument(help="A date, or a snapshot file.")],
    after: Annotated[str, typer.Argument(help="A date, or a snapshot file.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Compare the models of this file only.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What costs something else on the second side: rates and steps, by model."""
    from gateway.prices_command import change_row, diff

    settings = load(config, offline=True) if config is not None else None
    try:
        rows = [change_row(change) for change in diff(settings, before, after)]
    except (ValueError, OSError) as error:
        raise fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        moved = f"  {row['percent']}%" if row["percent"] is not None else ""
        typer.echo(
            f"{row['model']:<40} {row['component']:<24} {row['before'] or '-':>10} -> "
            f"{row['after'] or '-':>10}{moved}"
        )
    if not rows:
        typer.echo("No difference.")
