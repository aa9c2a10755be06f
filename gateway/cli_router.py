"""`weir router ...`: thresholds from labels, other policies and weights, what if."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from math import floor as floor_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, ledger_of, load
from gateway.cli_train import train_command

if TYPE_CHECKING:
    from router.correction import Correction
    from router.learning_calibrate import Kept

Target = Annotated[
    float, typer.Option("--target-quality", min=0.5, max=1.0, help="Share of the large model's.")
]


def register(app: typer.Typer) -> None:
    """These commands belong to ``weir router``."""
    group = typer.Typer(help="Thresholds, and what the routing is worth.", no_args_is_help=True)
    app.add_typer(group, name="router")
    group.command("calibrate")(calibrate_command)
    group.command("evaluate")(evaluate_command)
    group.command("observed")(observed_command)
    group.command("train")(train_command)


def calibrate_command(
    labels: Annotated[Path, typer.Argument(help="JSONL: prompt, weak_correct, strong_correct.")],
    target_quality: Target = 0.97,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """The cheapest threshold whose lower bound keeps a target quality, from your own labels.

    Prints what to write into weir.yaml. Exits 1 below 200 labels: the shipped calibration stays.
    The score is the one in force: `routing.weights` of the configuration, if there is one.
    """
    from router.errors import TooFewLabels
    from router.learning_calibrate import calibrate

    weights = load(config, offline=True).weights if config.exists() else None
    rows = _labels(labels, weights)
    try:
        found = calibrate(rows, target_quality)
    except TooFewLabels as error:
        raise fail(f"{labels}: {error}", 1) from None
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    _say_kept("all", found.overall)
    for name, kept in found.by_category.items():
        _say_kept(name or "(no category)", kept)
    below = [name for name, kept in found.by_category.items() if kept.kept < target_quality]
    if below:
        typer.echo(f"\nThe target holds on the whole, not in: {', '.join(below)}")
    typer.echo("\nWrite into weir.yaml:\n")
    floor, limit = f"{target_quality * 100:g}%", f"{floor_of(found.overall.limit * 1e4) / 1e4:.4f}"
    typer.echo(f"routing: {{ quality: {{ floor: {floor}, limits: {{ {floor}: {limit} }} }} }}")


def evaluate_command(
    labels: Annotated[Path | None, typer.Argument(help="JSONL as for calibrate.")] = None,
    config: Config = DEFAULT_CONFIG,
    floor: Annotated[
        float | None, typer.Option(min=0.5, max=1.0, help="Another quality floor, such as 0.95.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A file of `weir router train`, in place of those in force.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a quality floor keeps: on labels, or on the ledger's requests with an outcome.

    With labels: kept quality, its lower bound and the share of calls to the large model. Without:
    a doubly robust estimate from receipts and outcomes, beside the floor in force.
    """
    from gateway.snapshot import build_snapshot

    settings = load(config, offline=True)
    correction = settings.weights if weights is None else _weights(weights)
    settings = replace(settings, weights=correction)
    snapshot = build_snapshot(settings)
    floors = [settings.routing.quality.floor] + ([floor] if floor is not None else [])
    limits = {one: snapshot.limit_at(one) for one in floors}
    if labels is not None:
        from router.learning_calibrate import kept_at

        rows = _labels(labels, correction)
        if not rows:
            raise fail(f"{labels} holds no label", 1)
        found = {f"{one:g}": asdict(kept_at(rows, limit)) for one, limit in limits.items()}
        _say(found, as_json=as_json)
        return
    from gateway.replay_log import Range
    from gateway.router_report import logged
    from gateway.train_labels import moved
    from router.learning_ope import doubly_robust, threshold

    span = Range(0, int(datetime.now(UTC).timestamp() * 1000))  # noqa: TID251 - a command's clock
    log = list(logged(ledger_of(config), span, settings, limits[floors[0]]))
    if weights is not None and correction is not None:
        log = list(moved(log, correction))
    try:
        values = {one: asdict(doubly_robust(log, threshold(lim))) for one, lim in limits.items()}
    except ValueError as error:
        raise fail(f"{error}; outcomes come by POST /weir/outcomes", 1) from None
    _say({f"{one:g}": value for one, value in values.items()}, as_json=as_json)


def observed_command(
    config: Config = DEFAULT_CONFIG,
    period: Annotated[str, typer.Option("--last", help="30d, 12h, 4w or all.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """What `routing.mode: observe` would have saved, had it acted."""
    from billing.money import usd
    from gateway.replay_log import parse_period, receipts
    from gateway.router_report import observed

    try:
        span = parse_period(period, datetime.now(UTC))  # noqa: TID251 - a command's clock
    except ValueError as error:
        raise fail(str(error)) from None
    found = observed(receipts(ledger_of(config), span))
    if as_json:
        money = {
            name: usd(getattr(found, f"{name}_nano"))
            for name in ("paid", "expected", "would", "saved")
        }
        by = {"by_team": found.by_team, "by_action": found.by_action}
        rows = {name: {k: usd(v) for k, v in each.items()} for name, each in by.items()}
        counts = {"requests": found.requests, "changed": found.changed}
        typer.echo(json.dumps({**counts, **{f"{k}_usd": v for k, v in money.items()}, **rows}))
        return
    typer.echo(
        f"{found.requests:,} observed requests, {usd(found.paid_nano)} USD paid. {found.changed:,} "
        f"would have changed: {usd(found.would_nano)} instead of {usd(found.expected_nano)} USD "
        f"expected, {usd(found.saved_nano)} USD saved."
    )
    for name, saved in sorted(found.by_action.items(), key=lambda row: -row[1]):
        typer.echo(f"  {name:<24} {usd(saved)}")
    for name, saved in sorted(found.by_team.items(), key=lambda row: -row[1]):
        typer.echo(f"  team {name:<19} {usd(saved)}")


def _weights(path: Path) -> Correction:
    from router.complexity import bundled_complexity
    from router.correction import corrected, read_correction
    from router.errors import WeightsInvalid

    try:
        found = read_correction(path.read_text(encoding="utf-8"), path.name)
        corrected(bundled_complexity(), found)
    except (WeightsInvalid, UnicodeDecodeError) as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{path} cannot be read: {error.strerror}") from None
    return found


def _labels(path: Path, weights: Correction | None) -> Any:
    from gateway.labels_file import LabelsInvalid
    from gateway.router_report import labelled
    from router.complexity import bundled_complexity
    from router.correction import corrected

    try:
        return labelled(path, corrected(bundled_complexity(), weights))
    except LabelsInvalid as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{path} cannot be read: {error.strerror}") from None


def _say(found: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, values in found.items():
        typer.echo(f"floor {float(name):.0%}")
        for key, value in values.items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            typer.echo(f"  {key:<12} {shown}")


def _say_kept(name: str, kept: Kept) -> None:
    typer.echo(
        f"{name:<28} {kept.count:>6} labels  keeps {kept.kept:.1%} (at least {kept.lower:.1%})  "
        f"large {kept.strong:.1%} ({kept.strong_low:.1%}-{kept.strong_high:.1%})"
    )
