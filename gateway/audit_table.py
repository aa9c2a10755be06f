"""An audit for a person at a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from billing.money import usd
from gateway.audit_report import About, amounts, dollars, merged
from gateway.audit_run import Read
from gateway.audit_sums import Count, Group, Single, Sums
from gateway.audit_words import reason, refusal

_SHOWN, _BAD = 8, 10


def print_audit(sums: Sums, read: Read, about: About, console: Console) -> None:
    """Summary by model and by action, top savings, refusals, and what could not be judged."""
    total = sums.total
    part = " [yellow](interrupted: a part)[/]" if read.partial else ""
    console.print(
        f"[bold]{total.requests:,} requests[/]{part}, {total.compared:,} compared: as it was "
        f"[bold]{dollars(total.as_was_nano)}[/], under the policy "
        f"[bold]{dollars(total.policy_nano)}[/], saved [bold]{dollars(total.saved_nano)}[/]"
    )
    _groups(console, "model asked for", sums.by_model)
    _groups(console, "action", sums.by_action)
    if sums.savings:
        _singles(console, "top savings", sums.savings)
    if sums.losses:
        _singles(console, "top losses", sums.losses)
    _counts(console, "stays as it is, because", [(reason(c.name), c) for c in sums.reasons])
    _counts(console, "would be refused, because", [(refusal(c.name), c) for c in sums.refused])
    _counts(console, "without a price (in no sum)", [(c.name, c) for c in sums.unpriced])
    if sums.bound_rows:
        most = dollars(sums.bound_as_was_nano - sums.bound_nano)
        console.print(
            f"\n{sums.bound_rows:,} requests are known by counts only: no saving is claimed; "
            f"at the very most routing could save {most} there."
        )
    if about.observed:
        console.print("The policy only observes; it was judged as if it acted.")
    _bad(console, read)


def _groups(console: Console, title: str, groups: Sequence[Group]) -> None:
    table = _table(
        title, "requests", "prompt tokens", "sent tokens", "as it was", "policy", "saved"
    )
    shown = list(groups[:_SHOWN])
    if len(groups) > _SHOWN:
        shown.append(merged(f"{len(groups) - _SHOWN} more", groups[_SHOWN:]))
    for group in shown:
        table.add_row(
            escape(group.name or "(no name)"), f"{group.requests:,}", f"{group.prompt_tokens:,}",
            f"{group.sent_tokens:,}", *amounts(group),
        )  # fmt: skip
    console.print()
    console.print(table)


def _singles(console: Console, title: str, singles: Sequence[Single]) -> None:
    table = _table(title, "tokens", "as it was", "policy")
    for one in singles[:5]:
        what = f"{one.place} {one.model}: {one.action} to {one.served}, {reason(one.reason)}"
        table.add_row(
            escape(what), f"{one.prompt_tokens:,}", dollars(one.as_was_nano),
            dollars(one.policy_nano),
        )  # fmt: skip
    console.print()
    console.print(table)


def _counts(console: Console, title: str, rows: Sequence[tuple[str, Count]]) -> None:
    if not rows:
        return
    table = _table(title, "requests", "as it was")
    for name, one in rows[:_SHOWN]:
        cost = "not known" if one.as_was_nano is None else dollars(one.as_was_nano)
        table.add_row(escape(name), f"{one.requests:,}", cost)
    console.print()
    console.print(table)


def _bad(console: Console, read: Read) -> None:
    if not read.bad_count:
        return
    console.print(f"\n[yellow]{read.bad_count:,} lines could not be read:[/]")
    for log, line, why in read.bad[:_BAD]:
        console.print(f"  {escape(log)}:{line}: {escape(why)}")
    if read.bad_count > _BAD:
        console.print(f"  and {read.bad_count - _BAD:,} more")


def _table(title: str, *figures: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(title, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right")
    return table


def to_json(sums: Sums, read: Read, about: About) -> dict[str, Any]:
    """The same as JSON; money as decimal USD."""
    return {
        "policy": about.policy_hash,
        "prices": about.prices_hash,
        "assumed_policy": about.assumed,
        "partial": read.partial,
        "total": _group(sums.total),
        "by_model": [_group(group) for group in sums.by_model],
        "by_action": [_group(group) for group in sums.by_action],
        "by_day": [_group(group) for group in sums.by_day],
        "by_team": [_group(group) for group in sums.by_team],
        "by_basis": [_group(group) for group in sums.by_basis],
        "reasons": [_count(one) for one in sums.reasons],
        "refused": [_count(one) for one in sums.refused],
        "unpriced": [_count(one) for one in sums.unpriced],
        "savings": [_single(one) for one in sums.savings],
        "losses": [_single(one) for one in sums.losses],
        "counts_only": {
            "requests": sums.bound_rows,
            "as_was_usd": usd(sums.bound_as_was_nano),
            "at_a_small_model_usd": usd(sums.bound_nano),
        },
        "recorded": {
            "requests": sums.recorded,
            "log_usd": usd(sums.recorded_nano),
            "as_was_usd": usd(sums.recorded_as_was_nano),
        },
        "estimated": sums.estimated,
        "undated": sums.undated,
        "not_requests": read.others,
        "unreadable": read.bad_count,
        "unreadable_lines": [{"log": log, "line": line, "why": why} for log, line, why in read.bad],
    }


def _group(group: Group) -> dict[str, object]:
    return {
        "name": group.name,
        "requests": group.requests,
        "compared": group.compared,
        "prompt_tokens": group.prompt_tokens,
        "sent_tokens": group.sent_tokens,
        "as_was_usd": usd(group.as_was_nano),
        "policy_usd": usd(group.policy_nano),
        "saved_usd": usd(group.saved_nano),
    }


def _count(one: Count) -> dict[str, object]:
    cost = None if one.as_was_nano is None else usd(one.as_was_nano)
    return {"name": one.name, "requests": one.requests, "as_was_usd": cost}


def _single(one: Single) -> dict[str, object]:
    return {
        "place": one.place,
        "model": one.model,
        "action": one.action,
        "served": one.served,
        "prompt_tokens": one.prompt_tokens,
        "as_was_usd": usd(one.as_was_nano),
        "policy_usd": usd(one.policy_nano),
        "reason": one.reason,
    }
