"""A receipt told in sentences: what was asked, what was done, why, and what it cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from billing.receipt import Receipt
from billing.reports import Row
from billing.savings import Savings
from dashboard.format import MINUS, count, money, percent

_ACTIONS = {
    "pass": "sent as it came",
    "route": "sent to another model",
    "lossless": "the same content in fewer tokens",
    "trim": "only the parts that the question needs",
    "compress": "older parts summarised",
}
_TOLD = {
    "small_is_enough": "The small model is enough (probability {p}): a large one is expected to "
    "be right {gain_points} points more often.",
    "lower_tier_is_enough": "A cheaper tier is enough: {model}.",
    "longer_effective_context": "{model} reads reliably over this length.",
    "only_a_part_is_needed": "The question is a {need} (confidence {confidence}): only a part of "
    "the prompt is needed, cut from {from_tokens} to {to_tokens} tokens.",
    "same_content_in_less": "The same content was written in fewer tokens.",
    "old_history": "Older turns were remembered at less than full resolution.",
    "hidden_content": "The prompt holds characters or markup that a reader would not see.",
    "beyond_effective_context": "{prompt_tokens} tokens lie beyond the {effective_context} that "
    "the model asked for reads reliably.",
    "beyond_window": "{prompt_tokens} tokens do not fit the window of {window}.",
    "costs_less": "Expected to cost ${saves_usd} less than the ${asked_usd} as asked.",
    "weak_evidence": "The evidence is weak ({why}), so the model asked for keeps it.",
    "large_is_needed": "The model asked for is needed: it is expected to be right {gain_points} "
    "points more often than the small one.",
    "need_unknown": "What is needed of the prompt is unclear, so nothing is cut.",
    "nothing_to_gain": "Nothing cheaper would be as good, so nothing was changed.",
    "as_asked": "It went as it was asked.",
    "pass_requested": "The client asked for no change.",
    "observe": "Observe mode: decided and recorded, but sent as asked.",
    "fit_refused": "The {way} was called off ({why}).",
    "signed_thinking": "The history holds signed reasoning, so {stays_with} keeps it.",
    "follow_up": "A short follow-up stays with the model it follows, {stays_with}.",
    "tool_loop": "Inside a tool loop no switch is safe, so {stays_with} keeps it.",
}


def actions_help() -> str:
    """What each action is."""
    return "  \n".join(f"**{name}**: {told}" for name, told in _ACTIONS.items())


def known_baseline(row: Row) -> int | None:
    """Tokenmaxxed of the requests where it is known, nano-USD; None where it is of none."""
    return None if row.infeasible == row.requests else row.baseline_nano


def known_saved(row: Row) -> int | None:
    """Saved over the same requests, or None."""
    return None if row.infeasible == row.requests else row.saved_nano


def comparison(row: Row, period: str) -> str:
    """The one sentence of the Compare view."""
    asked = f"{_capital(period)}, {count(row.requests, 'request')} cost {money(row.cost_nano)}."
    if known_baseline(row) is None:
        return f"{asked} What they would have cost tokenmaxxed is not known for any of them."
    if row.infeasible:
        known = count(row.requests - row.infeasible, "request")
        asked += f" The {known} that can be compared cost {money(row.compared_nano)}."
    saved = row.saved_nano
    share = percent(abs(saved), row.baseline_nano)
    verdict = (
        f"so Tokenweir saved {money(saved)} ({share})"
        if saved >= 0
        else f"so Tokenweir cost {money(-saved)} ({share}) more"
    )
    return (
        f"{asked} Sent whole to the model they asked for they would have cost "
        f"{money(row.baseline_nano)}, {verdict}."
    )


def measured(savings: Savings) -> str:
    """What the sessions held out say to it, where they are enough to measure by."""
    low, high = money(savings.low_nano), money(savings.high_nano)
    verb = "saved" if savings.saved_nano >= 0 else "lost"
    return (
        f"Measured against the sessions held out, routing {verb} {money(abs(savings.saved_nano))} "
        f"({abs(savings.share):.1%}), between {low} and {high}."
    )


def left_out(row: Row) -> str | None:
    """What the comparison leaves out, or None."""
    if not row.infeasible:
        return None
    cost = money(row.cost_nano - row.compared_nano)
    return (
        f"{count(row.infeasible, 'request')} ({cost}) left out of tokenmaxxed and saved: too long "
        f"for the model asked for, or without a known price."
    )


def story(receipt: Receipt) -> str:
    """What happened to one request, in two or three sentences."""
    who = f"{receipt.key} of {receipt.team}"
    asked = (
        f"{who} asked {receipt.requested_model} with "
        f"{count(receipt.original_prompt_tokens, 'prompt token')}."
    )
    return f"{asked} {_done(receipt)} {_cost(receipt)}"


def reason(fact: Mapping[str, object]) -> str:
    """One reason as a sentence; a code that has none is shown with its figures."""
    code = str(fact.get("code", ""))
    facts = {name: _figure(name, value) for name, value in fact.items() if name != "code"}
    gain = fact.get("gain")
    if isinstance(gain, float):
        facts["gain_points"] = f"{gain * 100:.1f}"
    told = _TOLD.get(code)
    if told is not None:
        try:
            return told.format(**facts)
        except KeyError:
            pass  # an older receipt, with other figures
    facts.pop("gain_points", None)
    listed = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    name = code.replace("_", " ").capitalize() or "Reason without a name"
    return f"{name}: {listed}." if listed else f"{name}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _done(receipt: Receipt) -> str:
    steps = receipt.action.split("+")
    moved = receipt.served_model != receipt.requested_model
    sent = f"{receipt.sent_prompt_tokens:,}"
    if receipt.status != 200:
        return f"It ended with status {receipt.status}."
    if steps == ["pass"] and not moved:
        return f"It was sent as it came and {receipt.served_model} answered."
    parts = [f"It was served by {receipt.served_model}" if moved else "It kept its model"]
    fits = [_ACTIONS[step] for step in steps if step in _ACTIONS and step not in ("route", "pass")]
    if fits:
        parts.append(f"with {' and '.join(fits)} ({sent} tokens sent)")
    return f"{' '.join(parts)}."


def _cost(receipt: Receipt) -> str:
    paid = money(receipt.cost_nano)
    saved = receipt.saved_nano
    if receipt.baseline_nano is None or saved is None:
        return f"It cost {paid}; what {receipt.baseline_model} would have cost is not known."
    whole = f"{money(receipt.baseline_nano)} whole at {receipt.baseline_model}"
    if saved == 0:
        return f"It cost {paid}, the same as {whole}."
    share = percent(abs(saved), receipt.baseline_nano)
    word = "less" if saved > 0 else "more"
    return f"It cost {paid} instead of {whole}: {share} {word}."


def _figure(name: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if isinstance(value, float):
        return f"{value:.3g}".replace("-", MINUS)
    text = str(value)
    return text.rstrip("0").rstrip(".") if name.endswith("_usd") and "." in text else text
