"""One receipt in full: the story, the decision, what it cost line by line, what was cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import streamlit as st

from billing import originals
from billing.bodies import Kept
from billing.money import nano
from billing.receipt import Receipt
from billing.receipt_json import to_json
from dashboard import diff, path, tables, words
from dashboard.format import count, moment, money, percent, plain
from dashboard.tables import Column, Table
from dashboard.theme import lead

_CANDIDATES = {
    "model": Column("Model"),
    "way": Column("Prompt"),
    "expected": Column("Expected", "money", "Priced before sending, erring high."),
    "verdict": Column("Why not", width="large"),
}
_LINES = {
    "component": Column("Component"),
    "quantity": Column("Quantity", "count"),
    "rate": Column("USD per million"),
    "amount": Column("Amount", "money"),
    "model": Column("Attempt"),
    "rule": Column("Price rule", width="large"),
}
_CUTS = {
    "message": Column("Message", "count"),
    "segment": Column("Segment", "count"),
    "tokens": Column("Tokens", "count"),
    "way": Column("Way"),
    "score": Column("Score", "ratio", "Relevance to the question, as ranked."),
    "sha256": Column("Hash of the text", means="The text itself is not kept."),
}
_ATTEMPTS = {
    "model": Column("Model"),
    "upstream": Column("Upstream"),
    "status": Column("Status"),
    "outcome": Column("Outcome"),
    "ttft": Column("First byte, ms"),
    "duration": Column("Duration, ms"),
}


_MOST_STRIPS = 20
_MOST_SENT = 20_000
_LONG = 24


def show(receipt: Receipt, zone: ZoneInfo, kept: Kept | None = None) -> None:
    """Draw the receipt; ``kept`` are its bodies, where the policy keeps any."""
    when = moment(receipt.at_ms, zone)
    st.subheader(f"Receipt {receipt.request_id}")
    st.caption(plain(f"{when:%Y-%m-%d %H:%M:%S} {zone.key}"))
    _marks(receipt)
    st.html(lead(words.story(receipt)))
    _figures(receipt)
    _ways_on(receipt)
    st.markdown("**Why**")
    told = [f"- {plain(words.reason(fact))}" for fact in receipt.reasons]
    st.markdown("\n".join(told) or "No reason was recorded.")
    st.markdown("**Lines**")
    tables.show(lines_table(receipt), f"lines-{receipt.request_id}")
    if receipt.candidates:
        st.markdown("**Candidates**")
        tables.show(candidates_table(receipt), f"candidates-{receipt.request_id}")
    _cuts(receipt, kept)
    _rest(receipt)


def candidates_table(receipt: Receipt) -> Table:
    """Every candidate with its expected cost and why it was not taken."""
    return Table(_CANDIDATES, [_candidate(one) for one in receipt.candidates])


def lines_table(receipt: Receipt) -> Table:
    """Every priced line; the amounts sum to what providers were paid."""
    models = {attempt.id: attempt.model for attempt in receipt.attempts}
    return Table(
        _LINES,
        [
            {
                "component": line.component.replace("_", " "),
                "quantity": line.quantity,
                "rate": line.rate,
                "amount": line.amount_nano,
                "model": models.get(line.attempt, line.attempt),
                "rule": line.rule,
            }
            for line in receipt.lines
        ],
    )


def cuts_table(receipt: Receipt) -> Table:
    """What was dropped or rewritten: place, size and hash."""
    return Table(
        _CUTS, [{name: cut.get(name) for name in _CUTS} | _short(cut) for cut in receipt.cuts]
    )


def attempts_table(receipt: Receipt) -> Table:
    """Every call to a provider."""
    return Table(
        _ATTEMPTS,
        [
            {
                "model": one.model,
                "upstream": one.upstream,
                "status": str(one.status),
                "outcome": one.outcome,
                "ttft": "" if one.ttft_ms is None else f"{one.ttft_ms:,.0f}",
                "duration": f"{one.duration_ms:,.0f}",
            }
            for one in receipt.attempts
        ],
    )


def _marks(receipt: Receipt) -> None:
    with st.container(horizontal=True, gap="small"):
        st.badge(receipt.action, color="primary", help=words.actions_help())
        st.badge(f"{receipt.tier} model", color="gray")
        if receipt.arm != "routed":
            st.badge(receipt.arm, color="violet")
        if receipt.state != "settled":
            st.badge(receipt.state, color="orange", help="Charged at its hold until reconciled.")
        if receipt.usage_source == "estimated":
            st.badge("usage estimated", color="orange", help="The provider reported no usage.")
        if receipt.baseline_nano is None:
            st.badge("not compared", color="gray", help="Its tokenmaxxed cost is not known.")
        if receipt.status != 200:
            st.badge(f"status {receipt.status}", color="red")


def _ways_on(receipt: Receipt) -> None:
    """From one request to what it is a part of."""
    parts = {
        "team": receipt.team, "project": receipt.project, "key": receipt.key,
        "session": receipt.session_key,
    }  # fmt: skip
    with st.container(horizontal=True, gap="small"):
        for step, label in parts.items():
            if label:
                st.button(
                    f"{step}: {_shortened(label)}", key=f"to-{step}", type="tertiary",
                    icon=":material/subdirectory_arrow_left:", on_click=path.pick,
                    args=(step, label), help=f"All requests of this {step}.",
                )  # fmt: skip


def _shortened(label: str) -> str:
    return label if len(label) <= _LONG else f"{label[:_LONG]}\u2026"


def _figures(receipt: Receipt) -> None:
    boxes = st.columns(4, gap="medium")
    with boxes[0].container(key="figure-tokenmaxxed-one"):
        st.metric("Tokenmaxxed", money(receipt.baseline_nano))
    with boxes[1].container(key="figure-paid-one"):
        st.metric("Paid", money(receipt.cost_nano))
    with boxes[2].container(key="figure-saved-one"):
        saved, base = receipt.saved_nano, receipt.baseline_nano
        st.metric("Saved", "unknown" if saved is None or not base else percent(saved, base))
    with boxes[3].container(key="figure-tokens-one"):
        st.metric(
            "Prompt tokens sent",
            f"{receipt.sent_prompt_tokens:,}",
            help=f"{receipt.original_prompt_tokens:,} were asked, {receipt.cached_tokens:,} came "
            f"from the provider's cache, {receipt.completion_tokens:,} were answered.",
        )


def _cuts(receipt: Receipt, kept: Kept | None) -> None:
    if not receipt.cuts:
        return
    tokens = sum(_whole(cut.get("tokens")) for cut in receipt.cuts)
    pieces = count(len(receipt.cuts), "piece")
    with st.expander(f"What was cut: {pieces}, {tokens:,} tokens", icon=":material/content_cut:"):
        body = _body(receipt, kept)
        if body is None:
            st.caption(
                "The text is not kept, so there are places, sizes and hashes alone; the policy's "
                "`record: {bodies: 7 days}` keeps it from then on."
            )
        st.html(diff.legend())
        for strip in diff.strips(receipt.cuts, body)[:_MOST_STRIPS]:
            st.markdown(f"**{plain(strip.title)}** {_sizes(strip)}")
            st.html(diff.as_bar(strip) if strip.pieces is None else diff.as_html(strip))
        if kept is not None and kept.sent:
            st.markdown("**Sent instead**")
            st.code(kept.sent.decode("utf-8", "replace")[:_MOST_SENT], language="json",
                    wrap_lines=True, height=260)  # fmt: skip
        tables.show(cuts_table(receipt), f"cuts-{receipt.request_id}")


def _body(receipt: Receipt, kept: Kept | None) -> Any:
    """The original as JSON, if it is kept and is what the receipt says it was."""
    if kept is None:
        return None
    try:
        texts = originals.texts(kept, receipt.cuts)
    except orjson.JSONDecodeError:
        return None
    if None in texts:
        st.warning("The body that is kept is not the one that these cuts are of: not shown.")
        return None
    return orjson.loads(kept.received)


def _sizes(strip: diff.Strip) -> str:
    ways = sorted({str(cut.get("way", "")) for cut in strip.cuts})
    tokens = sum(_whole(cut.get("tokens")) for cut in strip.cuts)
    return f"{count(len(strip.cuts), 'cut')}, {tokens:,} tokens ({', '.join(ways)})"


def _rest(receipt: Receipt) -> None:
    with st.expander("Attempts and origin", icon=":material/database:"):
        tables.show(attempts_table(receipt), f"attempts-{receipt.request_id}")
        st.markdown(
            f"Gateway overhead {receipt.overhead_ms:.1f} ms · waste {plain(usd_of(receipt))} · "
            f"policy `{receipt.policy_hash[:19]}` · prices `{receipt.prices_hash[:19]}` · "
            f"catalog `{receipt.catalog_hash[:19]}`"
        )
    st.download_button(
        "Download receipt (JSON)",
        orjson.dumps(to_json(receipt), option=orjson.OPT_INDENT_2),
        file_name=f"receipt-{receipt.request_id}.json",
        mime="application/json",
        icon=":material/download:",
        on_click="ignore",
    )


def usd_of(receipt: Receipt) -> str:
    """The waste of a receipt in words."""
    return "none" if not receipt.waste_nano else money(receipt.waste_nano)


def _candidate(one: Mapping[str, object]) -> dict[str, Any]:
    expected = one.get("expected_usd")
    return {
        "model": str(one.get("model", "")),
        "way": str(one.get("way", "")),
        "expected": None if expected is None else nano(str(expected)),
        "verdict": str(one.get("rejected") or "chosen"),
    }


def _short(cut: Mapping[str, object]) -> dict[str, str]:
    return {"sha256": str(cut.get("sha256", ""))[:16], "way": str(cut.get("way", ""))}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
