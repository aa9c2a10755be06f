"""`weir router train`: a correction of the shipped score from one's own labels, if it is better."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, ledger_of, load

if TYPE_CHECKING:
    from gateway.settings import Settings
    from router.learning_train import Before, Example, Trained


def train_command(
    labels: Annotated[
        Path | None, typer.Argument(help="JSONL as for calibrate, beside what the ledger holds.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    period: Annotated[str, typer.Option("--last", help="30d, 12h, 4w or all.")] = "all",
    team: Annotated[str | None, typer.Option(help="Only this team's labels.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; default: by its hash.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of folds and intervals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a correction of the shipped score to your own labels, and say what it is worth.

    Labels are shadow verdicts, outcomes and what later requests said of answers, from the
    ledger, and a file's. Exits 1, and writes nothing, below 200 labels or where the correction
    is not surely better on labels left out. `routing.weights` names the file written; removing
    that line is the way back.
    """
    from router.complexity import bundled_complexity
    from router.correction import read_correction
    from router.errors import TooFewLabels
    from router.learning_train import train

    settings, shipped = load(config, offline=True), bundled_complexity()
    examples = _examples(labels, config, period, team)
    try:
        found = train(examples, shipped.limits, shipped.hash, seed)
    except TooFewLabels as error:
        raise fail(f"{error}; {_sources(_count(examples))}", 1) from None
    text = json.dumps(found.weights, indent=1, sort_keys=True) + "\n"
    correction = read_correction(text, "new")
    served = _served(config, period, settings, correction)
    name = out or config.parent / f"weights-{correction.hash.removeprefix('sha256:')[:12]}.json"
    if found.why_not is None:
        name.write_text(text, encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(_json(found, served, name)))
    else:
        _say(found, served)
    if found.why_not is not None:
        raise fail(f"not better, so nothing is written: {found.why_not}", 1)
    if not as_json:
        typer.echo(f"\nwritten: {name}\nWrite into weir.yaml, and remove it to go back:\n")
        typer.echo(f"routing: {{ weights: {name.name} }}")


def _examples(labels: Path | None, config: Path, period: str, team: str | None) -> list[Example]:
    """The file's labels and the ledger's; a ledger that is not there yet has none."""
    from billing.schema import database_path, is_postgresql
    from gateway.labels_file import LabelsInvalid
    from gateway.replay_log import parse_period
    from gateway.train_labels import from_file, from_ledger
    from router.complexity import bundled_complexity

    found: list[Example] = []
    try:
        if labels is not None:
            found = from_file(labels, bundled_complexity())
        span = parse_period(period, datetime.now(UTC))  # noqa: TID251 - a command's clock
    except (LabelsInvalid, ValueError) as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{labels} cannot be read: {error.strerror}") from None
    url = load(config, offline=True).database
    if labels is None or is_postgresql(url) or database_path(url).exists():
        found += from_ledger(ledger_of(config), span, team)
    return found


def _served(
    config: Path, period: str, settings: Settings, correction: Any
) -> dict[str, Any] | None:
    """Doubly robust: what either would have made of served requests with an outcome."""
    from billing.errors import LedgerUnavailable
    from billing.schema import database_path, is_postgresql
    from gateway.replay_log import parse_period
    from gateway.router_report import logged
    from gateway.snapshot import build_snapshot
    from gateway.train_labels import moved
    from router.complexity import Complexity
    from router.learning_ope import LEAST_ROWS, doubly_robust, threshold

    if not is_postgresql(settings.database) and not database_path(settings.database).exists():
        return None
    floor, snapshot = settings.routing.quality.floor, build_snapshot(settings)
    limit = snapshot.limit_at(floor)
    span = parse_period(period, datetime.now(UTC))  # noqa: TID251 - a command's clock
    try:
        rows = list(logged(settings.database, span, settings, limit))
    except LedgerUnavailable:
        return None
    if len(rows) < LEAST_ROWS:
        return None
    ahead = Complexity(0.0, 1.0, 0.0, 0.0, limits=correction.limits).gain_limit(floor)
    return {
        "before": asdict(doubly_robust(rows, threshold(limit))),
        "after": asdict(doubly_robust(list(moved(rows, correction)), threshold(ahead))),
    }


def _count(examples: list[Example]) -> dict[str, int]:
    return {s: sum(e.source == s for e in examples) for s in sorted({e.source for e in examples})}


def _sources(count: Any) -> str:
    said = ", ".join(f"{number:,} {source}" for source, number in sorted(count.items()))
    return f"found: {said or 'none'}"


def _say(found: Trained, served: dict[str, Any] | None) -> None:
    typer.echo(f"{found.labels:,.0f} labels ({_sources(found.by_source)}), on rows left out:\n")
    typer.echo(f"{'':10}{'before':<28}after")
    rows: list[tuple[str, Before]] = [("before", found.before), ("after", found.after)]
    for name in ("apgr", "auroc", "ece"):
        first, second = (str(getattr(each, name)) for _, each in rows)
        typer.echo(f"{name.upper():10}{first:<28}{second}")
    typer.echo(f"{'loss':10}{found.before.loss:<28.4f}{found.after.loss:.4f}")
    for head, recipe in found.recipes.items():
        typer.echo(f"{head:10}{recipe.told}")
    if served is None:
        typer.echo("\nToo few served requests have an outcome for an off-policy estimate.")
        return
    typer.echo("\nServed requests with an outcome, doubly robust (receipts hold no features):")
    for name, said in served.items():
        typer.echo(
            f"  {name:<8}good {said['value']:.3f} ({said['low']:.3f} to {said['high']:.3f}), "
            f"{said['small']:.1%} small, {said['supported']:.0%} within what was tried"
        )


def _json(found: Trained, served: dict[str, Any] | None, name: Path) -> dict[str, Any]:
    return {
        "labels": round(found.labels, 1),
        "by_source": dict(found.by_source),
        "before": asdict(found.before),
        "after": asdict(found.after),
        "loss_falls_by": asdict(found.fall),
        "recipes": {head: recipe.told for head, recipe in found.recipes.items()},
        "off_policy": served,
        "better": found.why_not is None,
        "why_not": found.why_not,
        "weights": str(name) if found.why_not is None else None,
        "seed": found.weights["seed"],
        "data": found.weights["data"],
    }
