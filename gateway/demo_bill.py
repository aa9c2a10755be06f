"""The demo's bill: receipts in, tables and sentences out. Pure: no sockets, files or clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

Receipt = Mapping[str, Any]
ZERO = Decimal(0)
_TOLD = {
    "small_is_enough": (
        "A small model is likely to be enough (probability {p}); what a large one adds, "
        "{gain_points} points, is within the quality floor."
    ),
    "lower_tier_is_enough": "A cheaper tier is enough: {model}.",
    "longer_effective_context": "{model} reads reliably over this length.",
    "only_a_part_is_needed": (
        "The question is a {need} (confidence {confidence}): only a part of the prompt is needed, "
        "cut from {from_tokens} to {to_tokens} tokens."
    ),
    "same_content_in_less": "The same content was written in fewer tokens.",
    "old_history": "Older turns were remembered at less than full resolution.",
    "hidden_content": "The prompt holds characters or markup that a reader would not see.",
    "beyond_effective_context": (
        "{prompt_tokens} tokens lie beyond the {effective_context} that the model asked for "
        "reads reliably."
    ),
    "beyond_window": "{prompt_tokens} tokens do not fit the window of {window}.",
    "costs_less": "Expected to cost ${saves_usd} less than ${asked_usd} as asked.",
    "weak_evidence": "The evidence is weak ({why}), so it stays with the model asked for.",
    "large_is_needed": (
        "It needs the model asked for, which is expected to be right {gain_points} points more "
        "often than the small one."
    ),
    "need_unknown": "What is needed of the prompt is unclear, so nothing is cut.",
    "nothing_to_gain": "Nothing cheaper would be as good, so the gate rightly does nothing.",
    "as_asked": "It goes as it was asked.",
    "fit_refused": "The {way} was called off ({why}).",
    "signed_thinking": "The history holds signed reasoning: it stays with {stays_with}.",
    "follow_up": "A short follow-up stays with the model that it follows, {stays_with}.",
    "tool_loop": "It is inside a tool loop, where no switch is safe: it stays with {stays_with}.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """The receipts of one action, summed. Tokens are prompt tokens, money is USD.

    ``baseline`` and ``baseline_paid`` sum only receipts whose tokenmaxxed cost is known;
    ``infeasible`` counts the others.
    """

    action: str
    requests: int = 0
    original: int = 0
    sent: int = 0
    completion: int = 0
    effective: int = 0
    baseline: Decimal = ZERO
    baseline_paid: Decimal = ZERO
    paid: Decimal = ZERO
    infeasible: int = 0

    @property
    def saved(self) -> Decimal:
        """Tokenmaxxed less paid; negative where routing cost more."""
        return self.baseline - self.baseline_paid

    @property
    def saved_share(self) -> Decimal | None:
        """``saved`` as a share of tokenmaxxed, None when that is nothing."""
        return self.saved / self.baseline if self.baseline else None


@dataclass(frozen=True, slots=True)
class Bill:
    """One line an action, dearest tokenmaxxed first, and their sum."""

    lines: tuple[Line, ...]
    total: Line


@dataclass(frozen=True, slots=True)
class Totals:
    """What one witness says was served; ``cost`` in USD, None where it knows no prices."""

    witness: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal | None = None


def summed(action: str, receipts: Iterable[Receipt]) -> Line:
    """All ``receipts`` in one line called ``action``."""
    rows = list(receipts)
    known = [row for row in rows if row["baseline_usd"] is not None]

    def tokens(name: str) -> int:
        return sum(int(row["tokens"][name]) for row in rows)

    def money(name: str, among: Sequence[Receipt]) -> Decimal:
        return sum((Decimal(row[name]) for row in among), ZERO)

    return Line(
        action=action,
        requests=len(rows),
        original=tokens("original_prompt"),
        sent=tokens("sent_prompt"),
        completion=tokens("completion"),
        effective=tokens("effective"),
        baseline=money("baseline_usd", known),
        baseline_paid=money("cost_usd", known),
        paid=money("cost_usd", rows),
        infeasible=len(rows) - len(known),
    )


def bill(receipts: Sequence[Receipt]) -> Bill:
    """The bill of ``receipts``; its lines add up to its total exactly."""
    actions = dict.fromkeys(str(receipt["action"]) for receipt in receipts)
    lines = [summed(action, (r for r in receipts if r["action"] == action)) for action in actions]
    lines.sort(key=lambda line: (-line.baseline, line.action))
    return Bill(tuple(lines), summed("all", receipts))


def ledger_totals(found: Mapping[str, Any]) -> Totals:
    """What ``weir ledger totals --json`` says."""
    return Totals(
        "ledger",
        int(found["requests"]),
        int(found["prompt_tokens"]),
        int(found["completion_tokens"]),
        Decimal(str(found["cost"])),
    )


def served_totals(served: Mapping[str, Any]) -> Totals:
    """What the simulated provider's ``GET /sim/served`` says."""
    models = served["models"].values()
    return Totals(
        "provider",
        int(served["requests"]),
        sum(int(model["prompt_tokens"]) for model in models),
        sum(int(model["completion_tokens"]) for model in models),
    )


def receipts_totals(total: Line) -> Totals:
    """What the receipts add up to."""
    return Totals("receipts", total.requests, total.sent, total.completion, total.paid)


def differences(first: Totals, *others: Totals) -> list[str]:
    """Each figure on which another witness does not agree with the first; [] when all do."""
    found = []
    for other in others:
        for name in ("requests", "prompt_tokens", "completion_tokens", "cost"):
            ours, theirs = getattr(first, name), getattr(other, name)
            if ours is not None and theirs is not None and ours != theirs:
                label = name.replace("_", " ")
                found.append(f"{label}: {first.witness} {ours}, {other.witness} {theirs}")
    return found


def stories(receipts: Sequence[Receipt]) -> list[Receipt]:
    """Up to three receipts worth reading: a prompt cut, a model switched, a request left alone.

    Of each sort the one with the largest saving; left alone, the largest prompt. A request
    whose fit was called off tells its story badly and is passed over.
    """
    smooth = [r for r in receipts if all(x["code"] != "fit_refused" for x in r["reasons"])]

    def saved(receipt: Receipt) -> Decimal:
        return Decimal(receipt["saved_usd"] or 0)

    def size(receipt: Receipt) -> Decimal:
        return Decimal(receipt["tokens"]["original_prompt"])

    sorts: tuple[tuple[Callable[[set[str]], bool], Callable[[Receipt], Decimal]], ...] = (
        (lambda parts: bool(parts & {"trim", "compress", "lossless"}), saved),
        (lambda parts: parts == {"route"}, saved),
        (lambda parts: parts == {"pass"}, size),
    )
    picked = []
    for belongs, worth in sorts:
        among = [r for r in smooth if belongs(set(str(r["action"]).split("+")))]
        if among:
            picked.append(max(among, key=worth))
    return picked


def story(receipt: Receipt, item: Mapping[str, Any]) -> list[str]:
    """The receipt in sentences: what was asked, what was done and why, what it cost."""
    tokens = receipt["tokens"]
    asked, served = receipt["requested_model"], receipt["served_model"]
    what = f"{item['kind']} prompt {item['id']!r} of {tokens['original_prompt']:,} tokens"
    lines = [f"Asked {asked} with the {what}."]
    lines += [reason_text(reason) for reason in receipt["reasons"]]
    lines.append(
        f"Sent {tokens['sent_prompt']:,} prompt tokens to {served} ({tokens['cached']:,} of them "
        f"cached); {tokens['completion']:,} came back."
    )
    if receipt["baseline_usd"] is None:
        lines.append(
            f"Paid ${dollars(receipt['cost_usd'])}; whole, it would not have been possible."
        )
    else:
        baseline, saved = Decimal(receipt["baseline_usd"]), Decimal(receipt["saved_usd"])
        lines.append(
            f"Paid ${dollars(receipt['cost_usd'])} instead of ${dollars(baseline)} tokenmaxxed: "
            f"saved {percent(saved / baseline if baseline else None)}."
        )
    others = [c for c in receipt["candidates"] if c.get("rejected")]
    if others:
        other = min(others, key=lambda c: (c["model"] != asked, c["way"] != "whole"))
        lines.append(f"Not taken: {other['model']} {other['way']}, because {other['rejected']}.")
    return [line.replace("..", ".") for line in lines]


def reason_text(reason: Mapping[str, Any]) -> str:
    """One reason as a sentence; a code without a sentence of its own shows its figures."""
    facts = {
        key: f"{value:,}" if isinstance(value, int) else value
        for key, value in reason.items()
        if key != "code"
    }
    code = str(reason["code"])
    if isinstance(reason.get("gain"), int | float):
        facts["gain_points"] = f"{reason['gain'] * 100:.1f}"
    if code in _TOLD:
        try:
            return _TOLD[code].format_map(facts)
        except KeyError:
            pass  # an older receipt without that figure
    said = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())
    return code.replace("_", " ").capitalize() + (f" ({said})." if said else ".")


def dollars(value: Decimal | str) -> str:
    """USD with six decimals, thousands grouped."""
    return f"{Decimal(value):,.6f}"


def percent(share: Decimal | None) -> str:
    """A share as percent with one decimal; "n/a" for None."""
    return "n/a" if share is None else f"{share * 100:.1f}%"


def bill_table(made: Bill) -> Table:
    """The bill as a table, one row an action and one for the sum."""
    table = Table(title="The bill", box=SIMPLE_HEAD, title_style="bold", padding=(0, 0, 0, 1))
    table.add_column("action", no_wrap=True)
    for heading in (
        "requests",
        "tokens\nasked",
        "tokens\nsent",
        "tokenmaxxed\nUSD",
        "paid\nUSD",
        "saved",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in made.lines:
        table.add_row(*_cells(line))
    table.add_section()
    table.add_row(*_cells(made.total), style="bold")
    return table


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.action,
        f"{line.requests:,}",
        f"{line.original:,}",
        f"{line.sent:,}",
        f"{line.baseline:,.4f}",
        f"{line.paid:,.4f}",
        percent(line.saved_share),
    )


def summary(made: Bill) -> list[str]:
    """The totals in sentences, and how sure they are."""
    total = made.total
    lines = [
        f"Tokenmaxxed (every prompt whole, to the model asked for) ${dollars(total.baseline)}.",
        f"Paid ${dollars(total.paid)}.",
        (
            f"Saved ${dollars(total.saved)}, {percent(total.saved_share)} "
            f"(estimated: the demo keeps no holdout)."
        ),
    ]
    if any(line.saved < 0 for line in made.lines):
        lines.append(
            "A loss is shown as one: a conversation that came back to the model asked for found "
            "that model's cache cold."
        )
    if total.effective:
        per_million = total.paid / total.effective * 1_000_000
        lines.append(
            f"Effective tokens {total.effective:,}; ${per_million:,.4f} a million effective tokens."
        )
    lines.append(
        "Tokens asked are counted here before sending (for some models by estimate), tokens sent "
        "by the provider."
    )
    if total.infeasible:
        lines.append(
            f"{total.infeasible} requests have no tokenmaxxed cost (whole, they do not fit the "
            f"model asked for); they are left out of the savings."
        )
    return lines


def check_lines(first: Totals, *others: Totals) -> list[Text]:
    """Whether all witnesses say the same, in a line or a line a difference."""
    found = differences(first, *others)
    if found:
        return [Text(f"CHECK FAILED  {line}", style="bold red") for line in found]
    names = ", ".join([first.witness, *(other.witness for other in others)])
    return [
        Text(
            f"Check: {names} agree on {first.requests:,} requests, {first.prompt_tokens:,} prompt "
            f"tokens and {first.completion_tokens:,} completion tokens; receipts and ledger on "
            f"${first.cost}.",
            style="green",
        )
    ]


def report(
    receipts: Sequence[Receipt], items: Mapping[str, Mapping[str, Any]], others: Sequence[Totals]
) -> RenderableType:
    """The whole bill; ``items`` maps a request id to the prompt that was sent."""
    made = bill(receipts)
    panels = [
        Panel(
            "\n".join(story(receipt, items[receipt["request_id"]])),
            title=f"{receipt['action']}  {receipt['request_id']}",
            title_align="left",
        )
        for receipt in stories(receipts)
    ]
    checks = check_lines(receipts_totals(made.total), *others)
    return Group(bill_table(made), *map(Text, summary(made)), Text(), *panels, *checks)
