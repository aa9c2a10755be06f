"""`weir probe` and `weir models`: how much of its window a model really reads."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli_common import DEFAULT_CONFIG, AsJson, Config, fail, load

if TYPE_CHECKING:
    from gateway.probe_ask import Target
    from gateway.probe_card import Found
    from gateway.probe_run import Probe, Setup
    from gateway.snapshot import Snapshot
    from router.probe import Range

KEY_VARIABLE = "WEIR_KEY"
STOPPED = 130  # as a shell counts Ctrl-C


def register(app: typer.Typer) -> None:
    """These commands belong to ``weir``."""
    app.command("probe")(probe)
    app.command("models")(models)


def models(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """The declared models: window, effective context by kind of reading, and who says so."""
    import json

    from gateway.cards_table import cards_json, print_cards
    from gateway.snapshot import build_snapshot

    rows = cards_json(build_snapshot(load(config, offline=True)))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_cards(rows)


def probe(
    model: Annotated[str, typer.Argument(help="A model declared in weir.yaml.")],
    config: Config = DEFAULT_CONFIG,
    kinds: Annotated[str, typer.Option(help="What to measure.")] = "literal,semantic,multi",
    shortest: Annotated[int, typer.Option("--from", min=256, help="First length, tokens.")] = 1024,
    longest: Annotated[
        int | None, typer.Option("--to", min=512, help="Last length; 131072 or the window.")
    ] = None,
    keep: Annotated[
        float, typer.Option(min=0.5, max=1, help="Share of the accuracy a length must keep.")
    ] = 0.85,
    questions: Annotated[int, typer.Option(min=16, help="Most questions a length.")] = 64,
    curve: Annotated[
        int, typer.Option(min=0, help="Ask so many at every doubling, also beyond what holds.")
    ] = 0,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Stop before more than this, USD, is spent.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Spend without asking.")] = False,
    through: Annotated[
        str | None,
        typer.Option(help=f"Ask a running gateway at this URL, with the key in {KEY_VARIABLE}."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for card, curve and journal.")] = Path("cards"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what was asked before.")] = False,
    seed: Annotated[int, typer.Option(help="Other questions for another seed.")] = 1,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Questions at a time.")] = 4,
    max_output: Annotated[int, typer.Option(min=16, help="Longest answer, tokens.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Measure a model's effective context by questions over texts of growing length.

    Says what it will cost and asks before it spends; goes on where it was stopped; writes a
    card for weir.yaml and a curve. Exits 1 where the budget ended it early, 130 after Ctrl-C.
    """
    from router.probe import Range

    snapshot = _snapshot(config, model, offline=through is not None)
    last = _longest(snapshot.cards[model].window, (shortest, longest), max_output)
    span = Range(shortest, last, keep, most=questions, curve=curve)
    setup = _setup(model, kinds, span, (seed, max_output, parallel))
    wish = _Wish(budget, yes, out, fresh, as_json)
    raise typer.Exit(_probed(snapshot, setup, _target(snapshot, model, through), wish))


def _snapshot(config: Path, model: str, *, offline: bool) -> Snapshot:
    from gateway.snapshot import build_snapshot

    snapshot = build_snapshot(load(config, offline=offline))
    if model not in snapshot.cards:
        known = ", ".join(snapshot.cards)
        raise fail(f"model {model!r} is not declared in {config}; known: {known}")
    return snapshot


def _longest(window: int, wanted: tuple[int, int | None], max_output: int) -> int:
    """The last length to try: as wanted, but within the window with room for an answer."""
    shortest, longest = wanted
    room = int((window - max_output) * 0.97)  # our count is not the provider's
    last = min(longest or 131_072, room)
    if last <= shortest:
        raise fail(f"--to {last} must lie beyond --from {shortest}; the window is {window}")
    return last


def _setup(model: str, kinds: str, span: Range, asking: tuple[int, int, int]) -> Setup:
    from gateway.probe_run import Setup, kinds_of

    try:
        chosen = kinds_of(kinds.split(","))
    except ValueError as error:
        raise fail(str(error)) from None
    return Setup(model, chosen, span, *asking)


@dataclass(frozen=True, slots=True)
class _Wish:
    """The options that are about money and files."""

    budget: float | None
    yes: bool
    out: Path
    fresh: bool
    as_json: bool


def _target(snapshot: Snapshot, model: str, through: str | None) -> Target:
    """Where to ask: the model's own provider, or a gateway that books what is asked."""
    from gateway.probe_ask import Target

    if through is not None:
        key = os.environ.get(KEY_VARIABLE)
        if not key:
            raise fail(f"--through needs a key of that gateway in {KEY_VARIABLE}")
        headers = {"x-weir-mode": "pass", "x-weir-fit": "off", "x-weir-tags": "purpose=probe"}
        url = through.rstrip("/").removesuffix("/v1") + "/v1"
        return Target(url, model, api_key=key, headers=headers)
    entry = snapshot.settings.models[model]
    spec = snapshot.settings.upstreams[entry.upstream]
    if spec.kind == "litellm":
        raise fail(
            f"{model} is served by {spec.name!r} (kind: litellm); run `weir serve` and probe it "
            "with --through http://127.0.0.1:8080"
        )
    wire = "messages" if spec.kind == "anthropic" else "chat"
    url = spec.base_url or "https://api.anthropic.com/v1"
    if wire == "messages":
        url = url.rstrip("/").removesuffix("/v1") + "/v1"
    return Target(
        url, entry.model or model, wire, spec.api_key, spec.output_limit_field,
        timeout_s=spec.timeouts.total,
    )  # fmt: skip


def _probed(snapshot: Snapshot, setup: Setup, target: Target, wish: _Wish) -> int:
    """The probe's exit code."""
    from billing.errors import PriceMissing
    from billing.money import nano
    from gateway.probe_ask import Asker, ProbeFailed
    from gateway.probe_run import Journal, JournalMismatch, Probe, Purse

    now = datetime.now(UTC)  # noqa: TID251 - a command's clock
    try:
        price = snapshot.price(setup.model, int(now.timestamp() * 1000), None)
    except PriceMissing as error:
        raise fail(str(error)) from None
    name = setup.model.replace("/", "_")
    wish.out.mkdir(parents=True, exist_ok=True)
    path = wish.out / f"{name}.probe.jsonl"
    if wish.fresh:
        path.unlink(missing_ok=True)
    try:
        journal = Journal(path, setup)
    except JournalMismatch as error:
        raise fail(str(error)) from None
    limit = None if wish.budget is None else nano(str(wish.budget))
    purse = Purse(price, limit)
    asker = Asker(target)
    counter = snapshot.gauge(setup.model).counter
    job = Probe(setup, counter, asker.ask, journal, purse)
    _confirm(job, wish)

    async def ask_all() -> bool:
        try:
            return await job.run()
        finally:
            await asker.close()

    try:
        with _progress(job, quiet=wish.as_json):
            whole = asyncio.run(ask_all())
    except ProbeFailed as error:
        raise fail(f"{error}; what was answered is kept in {path}", 1) from None
    except KeyboardInterrupt:
        _ended(job, now, wish, f"stopped; {path} keeps what was answered: the same command goes on")
        return STOPPED
    if whole:
        _write(job, now, wish)
        return 0
    why = f"the next question could break the budget of {wish.budget} USD: a higher one goes on"
    _ended(job, now, wish, why)
    return 1


def _ended(job: Probe, now: datetime, wish: _Wish, why: str) -> None:
    """Write what is known so far, and say why it is not all."""
    from billing.money import usd_cents

    if job.journal.rows:
        _write(job, now, wish)
    spent = f", {usd_cents(job.purse.spent_nano)} USD" if job.purse.price else ""
    typer.echo(f"weir: {len(job.journal.rows)} answers so far{spent}; {why}", err=True)


def _confirm(job: Probe, wish: _Wish) -> None:
    """Say what the probe may cost, and ask before anything is spent."""
    from billing.money import usd_cents
    from gateway.probe_run import cost_estimate

    setup, purse = job.setup, job.purse
    if purse.price is None:
        return
    tokens, likely, most = cost_estimate(setup, purse.price, job.journal.rows)
    typer.echo(
        f"Probing {setup.model}: {', '.join(setup.kinds)}, {setup.over.shortest:,} to "
        f"{setup.over.longest:,} tokens.\n"
        f"About {usd_cents(likely)} USD for {tokens:,} prompt tokens if it reads well nearly to "
        f"the end, less if not, {usd_cents(most)} USD at most"
        + (f"; stops before {wish.budget} USD." if wish.budget is not None else "."),
        err=True,
    )
    if purse.spent_nano:
        typer.echo(f"Spent before: {usd_cents(purse.spent_nano)} USD.", err=True)
    if likely and not wish.yes:
        if not sys.stdin.isatty():
            raise fail("nothing was asked: --yes says that this may be spent")
        typer.confirm("Go on?", abort=True, err=True)


@contextmanager
def _progress(job: Probe, *, quiet: bool) -> Iterator[None]:
    """A bar that grows with every answer."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from billing.money import usd_cents
    from gateway.probe_run import Row, expected_questions

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[spent]} USD"),
    )  # fmt: skip
    console = Console(stderr=True, quiet=quiet)
    with Progress(*columns, console=console, transient=True) as bar:
        total = max(expected_questions(job.setup), len(job.journal.rows))
        task = bar.add_task("asking", total=total, completed=len(job.journal.rows), spent="0.00")

        def told(row: Row) -> None:
            bar.update(
                task,
                advance=1,
                description=f"{row.kind} {row.tokens:,}",
                spent=usd_cents(job.purse.spent_nano),
            )

        job.told = told
        yield


def _write(job: Probe, now: datetime, wish: _Wish) -> Found:
    """The card, the curve, and a summary on the screen."""
    import json

    from rich.console import Console
    from rich.table import Table

    from gateway.probe_card import Found, card, card_yaml, curve_svg, summary

    setup = job.setup
    found = Found(
        setup,
        tuple(search.reach() for search in job.searches),
        now.date(),
        len(job.journal.rows),
        job.purse.spent_nano if job.purse.price else None,
    )
    name = setup.model.replace("/", "_")
    card_path, curve_path = wish.out / f"{name}.card.yaml", wish.out / f"{name}.curve.svg"
    card_path.write_text(card_yaml(found), encoding="utf-8")
    curve_path.write_text(curve_svg(found), encoding="utf-8")
    data = card(found)
    if wish.as_json:
        typer.echo(json.dumps({**data, "date": data["date"].isoformat()}, indent=2))
        return found
    table = Table(box=None, header_style="dim")
    for title in ("reading", "effective tokens", "right at start / middle / end"):
        table.add_column(title)
    for row in summary(data):
        table.add_row(*row)
    Console().print(table)
    typer.echo(f"Card: {card_path}   Curve: {curve_path}")
    if any(reach["tokens"] is not None for reach in data["effective"].values()):
        typer.echo(f"Use it: models: {{ {setup.model}: {{ effective_context: {card_path} }} }}")
    return found
