"""`weir policy replay`: reads a ledger, shows progress, prints the outcome."""

from __future__ import annotations

import json
import sys
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from billing.browse import exists
from billing.errors import LedgerUnavailable
from gateway.replay_log import parse_period
from gateway.replay_report import how_many, print_outcome, replayed, to_json
from gateway.settings import Settings
from gateway.snapshot import build_snapshot


def run(
    settings: Settings,
    ledger: str | None,
    period: tuple[str, datetime],
    limit: int | None,
    *,
    as_json: bool,
) -> int:
    """Replay and print; 1 where the same policy now makes other plans, else 0.

    Raises:
        ValueError: no such period, no ledger there, or a ledger URL of another kind.
    """
    url = ledger or settings.database
    span = parse_period(*period)
    if ledger and not exists(ledger):
        raise ValueError(f"there is no ledger at {ledger}: correct --ledger, or leave it out")
    try:
        total = how_many(url, span, limit)
        columns = (
            TextColumn("replaying"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=total)
            outcome = replayed(
                build_snapshot(settings), url, span, limit, lambda: progress.advance(task)
            )
    except LedgerUnavailable as error:
        raise ValueError(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(to_json(outcome), indent=2) + "\n")
    else:
        print_outcome(outcome, Console())
    return 1 if outcome.drifted else 0
