"""report.html: an audit for a person who pays the bill. One file, no script, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from importlib.resources import files
from string import Template

from billing.money import half_even
from gateway.audit_run import Read
from gateway.audit_sums import Count, Group, Single, Sums
from gateway.audit_svg import Pair, bars, columns
from gateway.audit_words import reason, refusal

_MODELS, _DAYS, _WEEK, _BAD = 10, 62, 7, 20


@dataclass(frozen=True, slots=True)
class About:
    """What was audited, by what: names, never contents."""

    logs: tuple[str, ...]
    policy: str
    policy_hash: str
    prices_hash: str
    made: str
    assumed: bool
    fits: bool
    observed: bool


def html(sums: Sums, read: Read, about: About) -> str:
    """The report as one page."""
    total = sums.total
    saved, share = total.saved_nano, _share(total)
    values = {
        "title_range": escape(_range(sums)),
        "sentence": escape(_sentence(sums, about)),
        "was": dollars(total.as_was_nano),
        "policy": dollars(total.policy_nano),
        "policy_note": escape(f"{total.compared:,} of {total.requests:,} requests compared"),
        "difference_label": "Less" if saved >= 0 else "More",
        "difference": f"{dollars(abs(saved))}",
        "difference_class": "good" if saved >= 0 else "bad",
        "difference_note": f"{share} of the bill; an estimate, see below",
        "notes": _notes(sums, read, about),
        "model_chart": _model_chart(sums.by_model),
        "day_section": _day_section(sums.by_day),
        "actions": _actions(sums),
        "savings_section": _singles("Where most would be saved", sums.savings),
        "losses_section": _singles("Where it would have cost more", sums.losses),
        "reasons_section": _reasons(sums.reasons),
        "refused_section": _refused(sums.refused),
        "unpriced_section": _unpriced(sums.unpriced),
        "bad_section": _bad(read),
        "method": "\n".join(f"<li>{escape(line)}</li>" for line in method(sums, about)),
        "footer": escape(
            f"Tokenweir audit of {', '.join(about.logs)}, made {about.made}. Policy {about.policy} "
            f"({about.policy_hash[:19]}), prices {about.prices_hash[:19]}. Every figure is a sum "
            "over rows.csv; no prompt text is in either file."
        ),
    }
    page = files("gateway").joinpath("data/audit.html").read_text(encoding="utf-8")
    return Template(page).substitute(values)


def dollars(nano: int) -> str:
    """``$1,234.57``; below a dollar four places, so that small logs are not all zero."""
    if not nano:
        return "$0"
    sign, whole = ("-" if nano < 0 else ""), abs(nano)
    digits = 4 if whole < 1_000_000_000 else 2
    amount = Decimal(half_even(whole, 10 ** (9 - digits))).scaleb(-digits)
    return f"{sign}${amount:,.{digits}f}"


def _share(total: Group) -> str:
    if not total.as_was_nano:
        return "0%"
    tenths = half_even(abs(total.saved_nano) * 1000, total.as_was_nano)
    return f"{tenths // 10}.{tenths % 10}%"


def _range(sums: Sums) -> str:
    if not sums.first_day:
        return "undated"
    if sums.first_day == sums.last_day:
        return sums.first_day
    return f"{sums.first_day} to {sums.last_day}"


def _sentence(sums: Sums, about: About) -> str:
    total = sums.total
    verb = "less" if total.saved_nano >= 0 else "more"
    when = f" ({_range(sums)})" if sums.first_day else ""
    return (
        f"{total.requests:,} past requests{when}: the {total.compared:,} that can be compared cost "
        f"{dollars(total.as_was_nano)} as they were sent; under the policy they would have cost "
        f"{dollars(total.policy_nano)}, {_share(total)} {verb}. Nothing was sent to find this out."
    )


def _notes(sums: Sums, read: Read, about: About) -> str:
    notes = []
    if read.partial:
        notes.append("The audit was interrupted: this is a part of the log.")
    if about.assumed:
        notes.append(
            "No weir.yaml was given. A policy was assumed that declares every model of the log "
            "and a small model of each provider; it lies beside this report to be changed."
        )
    if about.observed:
        notes.append("The policy only observes (mode: observe); it is read here as if it acted.")
    if sums.bound_rows:
        most = sums.bound_as_was_nano - sums.bound_nano
        notes.append(
            f"{sums.bound_rows:,} requests are known by their token counts only. Without their "
            f"text nothing proves that a smaller model is enough, so no saving is claimed for "
            f"them. If a small model could answer every one, it would be {dollars(most)}: the "
            f"most that routing could save there, not a forecast."
        )
    return "".join(f'<p class="note">{escape(note)}</p>' for note in notes)


def _pairs(groups: Iterable[Group], cut: int = 0) -> list[Pair]:
    return [
        Pair(
            group.name[cut:] or "(no name)",
            group.as_was_nano,
            group.policy_nano,
            (dollars(group.as_was_nano)[1:], dollars(group.policy_nano)[1:]),
        )
        for group in groups
    ]


def _model_chart(groups: Sequence[Group]) -> str:
    known = [group for group in groups if group.compared]
    if not known:
        return '<p class="note">No request could be compared.</p>'
    shown = [*known[:_MODELS]]
    if len(known) > _MODELS:
        shown.append(merged(f"{len(known) - _MODELS} more", known[_MODELS:]))
    return bars(_pairs(shown), "Cost by model asked for, as it was and under the policy")


def _day_section(groups: Sequence[Group]) -> str:
    known = {group.name: group for group in groups if group.name}
    if len(known) < 2:
        return ""
    word, cut, days = "day", 5, _every_day(known)
    if len(days) > _DAYS:
        months = sorted({name[:7] for name in known})
        word, cut = "month", 0
        days = [merged(m, [g for g in known.values() if g.name[:7] == m]) for m in months]
    most = max(max(day.as_was_nano, day.policy_nano) for day in days)
    chart = columns(_pairs(days, cut), f"Cost by {word}", dollars(most)[1:])
    key = '<p class="key"><i class="was"></i>as it was<i class="pol"></i>under the policy (USD)</p>'
    return f"<h2>By {word}, UTC</h2>{key}{chart}"


def _every_day(known: Mapping[str, Group]) -> list[Group]:
    """The days of a log with those between them on which nothing was asked."""
    first, last = date.fromisoformat(min(known)), date.fromisoformat(max(known))
    span = min((last - first).days, 366 * 3)  # a stray date must not make a million columns
    names = [(first + timedelta(days=number)).isoformat() for number in range(span + 1)]
    return [known.get(name) or merged(name, []) for name in names]


def merged(name: str, groups: Sequence[Group]) -> Group:
    """Several groups as one."""
    return Group(
        name,
        sum(g.requests for g in groups),
        sum(g.compared for g in groups),
        sum(g.prompt_tokens for g in groups),
        sum(g.sent_tokens for g in groups),
        sum(g.as_was_nano for g in groups),
        sum(g.policy_nano for g in groups),
        sum(g.saved_nano for g in groups),
    )


def _actions(sums: Sums) -> str:
    rows = [_group_cells(group) for group in sums.by_action]
    heads = ("action", "requests", "prompt tokens", "sent tokens", "as it was", "policy", "saved")
    total = _group_cells(merged("total", list(sums.by_action)))
    return _table(heads, [*rows, total], total=True)


def _group_cells(group: Group) -> tuple[str, ...]:
    return (
        group.name, f"{group.requests:,}", f"{group.prompt_tokens:,}", f"{group.sent_tokens:,}",
        *amounts(group),
    )  # fmt: skip


def amounts(group: Group) -> tuple[str, str, str]:
    """As it was, under the policy, saved; dashes where nothing of the group is compared."""
    if not group.compared:
        return "-", "-", "-"
    return dollars(group.as_was_nano), dollars(group.policy_nano), dollars(group.saved_nano)


def _singles(title: str, singles: Sequence[Single]) -> str:
    if not singles:
        return ""
    rows = [
        (
            one.place, one.model, f"{one.action} to {one.served}: {reason(one.reason)}",
            f"{one.prompt_tokens:,}", dollars(one.as_was_nano), dollars(one.policy_nano),
        )
        for one in singles
    ]  # fmt: skip
    heads = ("line of the log", "asked for", "what and why", "tokens", "as it was", "policy")
    return f'<h2>{title}</h2><div class="scroll">{_table(heads, rows, texts=3)}</div>'


def _reasons(counts: Sequence[Count]) -> str:
    if not counts:
        return ""
    rows = [(reason(one.name), f"{one.requests:,}", _known(one.as_was_nano)) for one in counts[:12]]
    return "<h2>Where nothing would change, and why</h2>" + _table(
        ("why", "requests", "as it was"), rows
    )


def _refused(counts: Sequence[Count]) -> str:
    if not counts:
        return ""
    rows = [(refusal(one.name), f"{one.requests:,}", _known(one.as_was_nano)) for one in counts]
    note = "<p>A refusal is no saving: these requests are left out of the comparison.</p>"
    return (
        "<h2>What the policy would refuse</h2>"
        + note
        + _table(("why", "requests", "as it was"), rows)
    )


def _unpriced(counts: Sequence[Count]) -> str:
    if not counts:
        return ""
    rows = [(one.name, f"{one.requests:,}", f"{one.prompt_tokens:,}") for one in counts[:20]]
    note = "<p>An unknown price is never taken as zero: these are in no sum above.</p>"
    return "<h2>Without a price</h2>" + note + _table(("model", "requests", "prompt tokens"), rows)


def _bad(read: Read) -> str:
    if not read.bad_count:
        return ""
    rows = [(f"{log}:{line}", why) for log, line, why in read.bad[:_BAD]]
    more = read.bad_count - len(rows)
    note = f"<p>and {more:,} more</p>" if more > 0 else ""
    return (
        f"<h2>{read.bad_count:,} lines could not be read</h2>"
        + _table(("line", "why"), rows, texts=2)
        + note
    )


def _known(nano: int | None) -> str:
    return "not known" if nano is None else dollars(nano)


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1, total: bool = False
) -> str:
    """An HTML table; the first ``texts`` columns are words, the others figures."""

    def cell(tag: str, number: int, text: str) -> str:
        kind = ' class="n"' if number >= texts else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    parts = ["<table><thead><tr>", *(cell("th", n, head) for n, head in enumerate(heads))]
    parts.append("</tr></thead><tbody>")
    for number, row in enumerate(rows):
        last = total and number == len(rows) - 1
        parts.append('<tr class="total">' if last else "<tr>")
        parts.extend(cell("td", n, text) for n, text in enumerate(row))
        parts.append("</tr>")
    return "".join([*parts, "</tbody></table>"])


def method(sums: Sums, about: About) -> list[str]:
    """How the figures came about, and what they do not say."""
    lines = [
        (
            "As it was: the usage that the log reports, at the price in force on the request's own "
            "date, cached tokens at the cached rate, long-context surcharges included. Where the "
            f"log has no usage ({sums.estimated:,} requests), the prompt is counted and the "
            "usual answer length taken."
        ),
        (
            "Under the policy: the decision that the gateway itself would make on the same text. "
            "The answer is taken to be as long as it was, in the chosen model's own tokens. A "
            "model switch or a shortened prompt is priced without any cached tokens, and pays for "
            "those it gives up: that errs towards a smaller saving."
        ),
        (
            "A smaller model answers where it is expected to be as good. That expectation is "
            "measured on public questions, not on yours: a holdout on live traffic measures it "
            "on yours."
        ),
        "Budgets, rate limits and retries are not part of this comparison.",
    ]
    if not about.fits:
        lines.append("Shortened prompts are taken at their planned size (--quick).")
    if sums.undated:
        lines.append(f"{sums.undated:,} requests carry no date and are priced as of today.")
    if sums.recorded:
        lines.append(
            f"The log's own costs for {sums.recorded:,} requests add up to "
            f"{dollars(sums.recorded_nano)}; the price book says "
            f"{dollars(sums.recorded_as_was_nano)} for the same requests."
        )
    return lines
