"""`weir audit`: past requests, offline, under a policy. Nothing is sent.

Reads logs, writes rows.csv, sums it up, writes report.html, prints a summary. Exit codes:
0 fine, 1 where lines could not be read, nothing could be compared or the run was interrupted,
2 bad usage.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from billing.reader import epoch_ms
from gateway.audit_formats import parse as parse_record
from gateway.audit_policy import assumed, judged, key_for
from gateway.audit_read import batches, size
from gateway.audit_report import About, html
from gateway.audit_row import BadRecordError
from gateway.audit_rows import Judged
from gateway.audit_run import Read, Task, run
from gateway.audit_sums import Sums, sums
from gateway.audit_table import print_audit, to_json
from gateway.offline import Offline
from gateway.settings import parse

_SAMPLE = 5_000  # records that are looked at for the models of an assumed policy


@dataclass(frozen=True, slots=True)
class Options:
    """What the command was asked for; ``config`` is a policy's (text, source) or None."""

    logs: tuple[Path, ...]
    config: tuple[str, str] | None
    out: Path
    now: datetime
    kind: str | None = None
    key: str | None = None
    limit: int | None = None
    workers: int = 1
    fit: bool = True
    as_json: bool = False


def audit(options: Options, console: Console) -> int:
    """Audit and report; the exit code.

    Raises:
        OSError: a log cannot be read or the report not be written.
        ConfigError: the policy is wrong. KeyError: it has no such key.
    """
    logs = named(options.logs)
    text, source = options.config or (assumed(_models(options)), "assumed-weir.yaml")
    settings = parse(text, source, Offline(os.environ))
    key_for(settings, options.key)
    snapshot = judged(settings)
    options.out.mkdir(parents=True, exist_ok=True)
    rows_csv = options.out / "rows.csv"
    task = Task(text, source, options.key, options.kind, options.fit, epoch_ms(options.now))
    quiet = Console(stderr=True)
    with rows_csv.open("w", encoding="utf-8", newline="") as out, _progress(logs, quiet) as step:
        read = run(logs, task, out, options.workers, step, options.limit)
    with tempfile.TemporaryDirectory(prefix="weir-audit-") as scratch:
        found = sums(rows_csv, Path(scratch))
    about = About(
        logs=tuple(name for _, name in logs),
        policy=source,
        policy_hash=settings.hash,
        prices_hash=snapshot.prices.hash,
        made=options.now.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        assumed=options.config is None,
        fits=options.fit,
        observed=settings.policy.mode == "observe",
    )
    (options.out / "report.html").write_text(html(found, read, about), encoding="utf-8")
    if about.assumed:
        (options.out / "assumed-weir.yaml").write_text(text, encoding="utf-8")
    if options.as_json:
        sys.stdout.write(json.dumps(to_json(found, read, about), indent=2) + "\n")
    else:
        print_audit(found, read, about, console)
        _print_paths(options.out, console, assumed_policy=about.assumed)
    return _exit_code(found, read)


def _exit_code(found: Sums, read: Read) -> int:
    """1 where the report is not the whole truth: a part, unreadable lines, nothing to compare."""
    return 1 if read.partial or read.bad_count or not found.total.compared else 0


def _print_paths(out: Path, console: Console, *, assumed_policy: bool) -> None:
    console.print(f"\nReport: {out / 'report.html'}\nRows:   {out / 'rows.csv'}", highlight=False)
    if assumed_policy:
        console.print(f"Policy: {out / 'assumed-weir.yaml'} (assumed; --config takes your own)")


def named(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each log with the name that the report shows: its file name, or its path if two share it."""
    names = [path.name for path in paths]
    return [(path, path.name if names.count(path.name) == 1 else str(path)) for path in paths]


def _models(options: Options) -> list[tuple[str, str]]:
    """Models and providers of the first records of each log."""
    found: dict[tuple[str, str], None] = {}
    for path in options.logs:
        for model, provider in _sampled(path, options.kind):
            found.setdefault((model, provider))
    return list(found)


def _sampled(path: Path, kind: str | None) -> Iterator[tuple[str, str]]:
    seen = 0
    for batch in batches(path, path.name):
        for _, raw in batch.records:
            try:
                row = parse_record(raw, kind)
            except BadRecordError:
                continue
            if row is not None and row.chat:
                yield row.model.lstrip("'"), row.provider
        seen += len(batch.records)
        if seen >= _SAMPLE:
            return


@contextmanager
def _progress(
    logs: Sequence[tuple[Path, str]], console: Console
) -> Iterator[Callable[[Judged], None]]:
    """A bar over the bytes of all logs, with the rate; drawn on a terminal only."""
    total = sum(size(path) for path, _ in logs)
    before: dict[str, int] = {}
    columns = (
        TextColumn("auditing"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[rows]:,} requests"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task: TaskID = progress.add_task("", total=total, rows=0)
        rows = 0

        def step(done: Judged) -> None:
            nonlocal rows
            rows += done.rows
            before[done.log] = done.read_bytes
            progress.update(task, completed=sum(before.values()), rows=rows)

        yield step
