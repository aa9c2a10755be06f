"""Playground: paste a request and see what the gateway would do with it, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import streamlit as st

from billing.money import nano
from dashboard import tables, words
from dashboard.asking import CannotAsk, body_of, explain
from dashboard.data import Source
from dashboard.format import count, money, percent, plain
from dashboard.known import known
from dashboard.shown import shown
from dashboard.tables import Column, Table
from dashboard.theme import lead
from dashboard.views import _replay

_CANDIDATES = {
    "model": Column("Model"),
    "way": Column("Prompt"),
    "prompt_tokens": Column("Prompt tokens", "count"),
    "expected": Column("Expected", "money", "Priced before sending, erring high."),
    "why_not": Column("Why not", width="large"),
}
_CUTS = {
    "message": Column("Message", "count"),
    "segment": Column("Segment", "count"),
    "tokens": Column("Tokens", "count"),
    "way": Column("Way"),
    "score": Column("Score", "ratio", "Relevance to the question, as ranked."),
}


def candidates_of(said: Mapping[str, Any]) -> Table:
    """The candidates as a table."""
    return Table(
        _CANDIDATES,
        [
            {
                "model": one["model"],
                "way": one["way"],
                "prompt_tokens": one.get("prompt_tokens"),
                "expected": _nano(one.get("expected_usd")),
                "why_not": one.get("why_not") or "",
            }
            for one in said["candidates"]
        ],
    )


def in_words(said: Mapping[str, Any]) -> str:
    """The one sentence of the view."""
    plan, tokens = said["plan"], said["measurement"]["prompt_tokens"]
    sent = said["sent_prompt_tokens"]
    text = f"{count(tokens, 'prompt token')}: {plan['action']}, served by {plan['model']}"
    if sent != tokens:
        text += f" with {sent:,} of them sent ({percent(sent, tokens)})"
    baseline = said["baseline"]
    whole = _nano(baseline["expected_usd"])
    if whole is not None:
        text += f". Whole at {baseline['model']} it would cost about {money(whole)}"
    return f"{text}."


def page() -> None:
    """Draw the view."""
    source, _ = shown()
    st.markdown("Nothing is sent to a provider and nothing is billed.")
    picked = _past(source)
    said = known()
    names = [card.model for card in said.cards] if said else []
    with st.form("playground", border=False):
        text = st.text_area(
            "Prompt, or the JSON body of a request", picked, height=180,
            placeholder='What is the refund period?\n\nor {"model": "auto", "messages": [...]}',
        )  # fmt: skip
        left, right = st.columns(2)
        with left:
            model = str(st.selectbox("Model asked for", ["auto", *names]))
        with right:
            secret = st.text_input(
                "Gateway key", type="password", help="Its policy decides. It is kept nowhere."
            )
        asked = st.form_submit_button("Explain", type="primary")
    if asked:
        try:
            with st.spinner("Asking the gateway"):
                found = explain(body_of(text, model), secret)
        except CannotAsk as error:
            st.error(plain(str(error)), icon=":material/report:")
        else:
            _show(found)
    _replay.show(source)


def _past(source: Source) -> str:
    """The body of a past request to begin with, where one is named and kept."""
    request_id = st.text_input(
        "Begin with a past request", key="request", bind="query-params",
        placeholder="request id, as on its receipt", icon=":material/history:",
    )  # fmt: skip
    if not request_id:
        return ""
    receipt = source.receipt(request_id.strip())
    kept = None if receipt is None else source.original(receipt)
    if kept is None:
        hint = "Its body is not kept: `record: {bodies: 7 days}` in the policy keeps them."
        st.info("There is no such request." if receipt is None else hint)
        return ""
    return kept.received.decode("utf-8", "replace")


def _show(said: Mapping[str, Any]) -> None:
    st.html(lead(in_words(said)))
    measured = said["measurement"]
    boxes = st.columns(4)
    boxes[0].metric("Prompt tokens", count(measured["prompt_tokens"]))
    boxes[1].metric("Sent", count(said["sent_prompt_tokens"]))
    enough = "Probability that a small model answers as well."
    boxes[2].metric("Small is enough", f"{measured['small_is_enough']:.0%}", help=enough)
    sure = f"{measured['need_confidence']:.0%} sure" if "need_confidence" in measured else None
    boxes[3].metric("Reading", measured["need"], help=sure)
    st.subheader("Why")
    for reason in said["plan"]["reasons"]:
        st.markdown(f"- {plain(words.reason(reason))}")
    st.subheader("Candidates")
    tables.show(candidates_of(said), "candidates")
    if said["cuts"]:
        st.subheader("Cut")
        tables.show(Table(_CUTS, said["cuts"]), "cuts")
    with st.expander("What would be sent"):
        body = orjson.dumps(said["would_send"], option=orjson.OPT_INDENT_2).decode()
        st.code(body, language="json", wrap_lines=True, height=420)


def _nano(text: str | None) -> int | None:
    return None if text is None else nano(text)


if __name__ == "__main__":
    page()
