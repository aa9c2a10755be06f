"""What the finance commands print: a sentence first, then the table it rests on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table

from billing.closing import Closed
from billing.money import usd
from billing.receipt import iso_ms
from billing.reconcile import Delta
from billing.savings_report import Report, in_words, rows
from gateway.reconcile_command import Done

_MEANS = {
    "tokenmaxxed": "every request whole, to the model it asked for",
    "trim": "shorter prompts",
    "model": "another model",
    "cache": "prompt caching, ours less theirs",
    "retries": "failed and repeated attempts",
    "gateway": "the gateway's own calls",
    "correction": "what the holdout shows the computed figure was off by",
    "unsplit": "older receipts, not split by cause",
    "paid": "what was paid",
}


def print_savings(found: Report, console: Console) -> None:
    """The report as a paragraph, a waterfall and the outcomes."""
    console.print(in_words(found), highlight=False)
    if not found.savings.routed_sessions:
        return
    table = Table("step", "USD", "share", "what", box=None, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, amount, share in rows(found):
        table.add_row(name, amount, share, _MEANS.get(name, ""))
    console.print()
    console.print(table)
    if found.tasks:
        console.print()
        console.print(_tasks(found))


def _tasks(found: Report) -> Table:
    table = Table("arm", "accepted", "rejected", "rate", "USD an accepted task", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found.tasks:
        each = row.nano_per_accepted
        table.add_row(
            row.arm,
            f"{row.accepted:,}",
            f"{row.rejected:,}",
            f"{row.success_rate:.1%}",
            "-" if each is None else f"{Decimal(each).scaleb(-9):.6f}",
        )
    return table


def print_deltas(done: Done, console: Console) -> None:
    """Every account and day, and below it why it differs."""
    table = Table("account", "day", "requests", "ours", "theirs", "delta", "", box=None)
    for column in table.columns[2:6]:
        column.justify = "right"
    for delta in done.found:
        table.add_row(*_cells(delta))
        for reason in delta.reasons:
            amount = "" if reason.amount_nano is None else usd(reason.amount_nano)
            count = f"{reason.count:,}" if reason.count else ""
            table.add_row("", f"  {reason.code}", count, "", "", amount, reason.said)
    console.print(table)
    if done.waiting:
        console.print(f"{done.waiting} day(s) of the export are not over yet and wait.")
    left = sum(not delta.agrees for delta in done.after)
    if done.booked:
        total = sum(delta.delta_nano or 0 for delta in done.found)
        console.print(f"Booked {usd(total)} USD.", highlight=False)
    if not left:
        console.print("Every day agrees." if done.after else "Nothing to compare.")
    elif done.booked:
        console.print(f"{left} day(s) still differ: an export of costs is needed to book them.")
    else:
        console.print(f"{left} day(s) differ; --book makes them what the provider says.")


def _cells(delta: Delta) -> tuple[str, ...]:
    theirs, difference = delta.theirs_nano, delta.delta_nano
    said = "agrees" if delta.agrees else "differs"
    if difference is None:
        said += f" ({delta.delta_tokens or 0:+,} tokens)"
    return (
        delta.account,
        delta.day.isoformat(),
        f"{delta.ours.requests:,}",
        usd(delta.ours.cost_nano),
        "-" if theirs is None else usd(theirs),
        "-" if difference is None else usd(difference),
        said,
    )


def closing_words(done: Closed) -> str:
    """A closing in a sentence or two."""
    row = done.closing
    was = "was closed already" if done.already else "is closed"
    said = (
        f"{row.month} {was}: {row.requests:,} requests, {usd(row.cost_nano)} USD, corrections "
        f"{usd(row.corrected_nano)} USD; together {usd(row.total_nano)} USD. Digest "
        f"{row.digest.hex()[:16]}."
    )
    if done.unsettled:
        said += (
            f" {done.unsettled:,} of them are charged at their hold and were never reconciled; "
            f"what `weir reconcile --book` finds of them now posts to the open month."
        )
    return said


def closing_json(done: Closed) -> dict[str, Any]:
    """The outward shape of a closing."""
    row = done.closing
    return {
        "month": row.month,
        "until": iso_ms(row.until_ms),
        "closed_at": iso_ms(row.closed_ms),
        "requests": row.requests,
        "cost": usd(row.cost_nano),
        "corrected": usd(row.corrected_nano),
        "total": usd(row.total_nano),
        "digest": row.digest.hex(),
        "already": done.already,
        "unsettled": done.unsettled,
    }
