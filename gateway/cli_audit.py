"""`weir audit`, `weir policy explain`, `weir policy replay`: one short function a command."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, load

if TYPE_CHECKING:
    from gateway.audit import Options


class Kind(StrEnum):
    """Logs that `weir audit` reads."""

    AUTO = "auto"
    OPENAI = "openai"
    LITELLM = "litellm"
    LANGFUSE = "langfuse"
    HELICONE = "helicone"


def register(app: typer.Typer, policy: typer.Typer) -> None:
    """These commands belong to ``weir`` and to ``weir policy``."""
    app.command("audit")(audit)
    policy.command("explain")(policy_explain)
    policy.command("replay")(policy_replay)


def audit(
    logs: Annotated[list[Path], typer.Argument(help="Logs: JSONL, JSON or CSV, also .gz.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The policy; weir.yaml if it is there.")
    ] = None,
    kind: Annotated[
        Kind, typer.Option("--format", help="What wrote the logs; auto looks at each record.")
    ] = Kind.AUTO,
    out: Annotated[Path, typer.Option(help="Where report.html and rows.csv go.")] = Path(
        "weir-audit"
    ),
    key: Annotated[str | None, typer.Option(help="Whose rules hold, for unknown teams.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many records.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; one a core by default.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Plan shortened prompts, do not make them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read a log of past requests: what each cost, what it would have cost, and why.

    Nothing is sent. Exits 1 where lines could not be read or nothing could be compared.
    """
    from gateway.audit import Options

    missing = [path for path in logs if not path.is_file()]
    if missing:
        raise fail(f"{missing[0]} is no file")
    options = Options(
        logs=tuple(logs),
        config=_policy(config),
        out=out,
        now=datetime.now(UTC),  # noqa: TID251 - a command's clock
        kind=None if kind is Kind.AUTO else kind.value,
        key=key,
        limit=limit,
        workers=workers or os.cpu_count() or 1,
        fit=not quick,
        as_json=as_json,
    )
    raise typer.Exit(_audited(options))


def _audited(options: Options) -> int:
    """The audit's exit code; what cannot be read or written exits 2 with one line."""
    from rich.console import Console

    from gateway.audit import audit as run

    try:
        return run(options, Console())
    except KeyError as error:
        raise fail(f"no key {error} in the configuration") from None
    except OSError as error:
        raise fail(str(error)) from None


def _policy(config: Path | None) -> tuple[str, str] | None:
    """The text and name of the policy to audit under, or exit 2 with what is wrong in it."""
    if config is None and not DEFAULT_CONFIG.exists():
        return None
    path = config or DEFAULT_CONFIG
    load(path, offline=True)
    return path.read_text(encoding="utf-8"), str(path)


def policy_explain(
    key: Annotated[str, typer.Argument(help="A key's name in the policy.")],
    model: Annotated[str | None, typer.Argument(help="A declared model, or auto.")] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Which node of the policy said what for a key: ceilings, permissions, preferences."""
    from rich.console import Console

    from gateway.errors import InvalidRequest
    from gateway.policy_explain import explain_policy
    from gateway.policy_explain_table import print_policy
    from gateway.snapshot import build_snapshot
    from router.errors import UnknownModel

    snapshot = build_snapshot(load(config, offline=True))
    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    try:
        found = explain_policy(snapshot, key, model, now)
    except (InvalidRequest, UnknownModel) as error:
        raise fail(str(error)) from None
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        print_policy(found, Console())


def policy_replay(
    period: Annotated[str, typer.Argument(help="30d, 12h, 4w, or all.")] = "30d",
    config: Config = DEFAULT_CONFIG,
    ledger: Annotated[
        str | None, typer.Option(help="The ledger to read; by default the configuration's own.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many requests.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a policy over recorded requests: who would be served otherwise, and for how much.

    Exits 1 where plans differ though policy, prices and catalog are those they were made with.
    """
    from gateway.replay_command import run

    settings = load(config, offline=True)
    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    try:
        code = run(settings, ledger, (period, now), limit, as_json=as_json)
    except ValueError as error:
        raise fail(str(error)) from None
    raise typer.Exit(code)
