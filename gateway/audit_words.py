"""An audit's codes in plain sentences, for the terminal and for the report."""

from __future__ import annotations

_REASONS = {
    "weak_evidence": "no evidence that a smaller model is enough, so the one asked for stays",
    "weak_evidence:no_signal": "only sizes are known: without the text nothing proves that a "
    "smaller model is enough",
    "weak_evidence:tools": "a task with tools, on which no smaller model is proven",
    "weak_evidence:open_task": "a proof, a design, code or a diagnosis: no smaller model is proven",
    "weak_evidence:follow_up": "a short follow-up tells nothing of its own",
    "weak_evidence:script": "a script on which smaller models are not proven",
    "weak_evidence:too_long": "a question longer than any that was measured",
    "large_is_needed": "a large model is expected to be right more often",
    "need_unknown": "a long prompt whose kind of reading is not known is sent whole",
    "nothing_to_gain": "nothing that the policy permits is cheaper",
    "tool_loop": "inside a tool loop a switch is not safe",
    "signed_thinking": "the history holds signed reasoning of one model",
    "follow_up": "a short follow-up stays with the model that it follows",
    "beyond_effective_context": "longer than the model reads well, and nothing fits better",
    "hidden_content": "characters or markup that a reader would not see",
    "beyond_window": "beyond the model's window",
    "fit_refused": "no part of the prompt could be left out safely",
    "failed": "no answer came, so nothing was billed",
    "answered_from_cache": "the log's own gateway answered from its cache",
    "not_a_chat": "no chat request; it passes as it is",
    "small_is_enough": "a small model answers as well",
    "small_by_budget": "a budget's ladder sends it to a small model",
    "only_a_part_is_needed": "only a part of the prompt is needed",
    "old_history": "old turns are remembered at less resolution",
    "longer_effective_context": "a long-context model reads it better, for less",
    "lower_tier_is_enough": "a model of a lower tier is enough",
}
_REFUSALS = {
    "model_not_declared": "the policy declares no such model: add it under `models:`",
    "unpriced": "no price is known for it: declare one, or it is refused with 402",
    "no_model_may_serve_it": "no model that the policy permits can serve it",
    "invalid_request": "not a request that a provider would take",
    "nothing_to_judge": "the log has neither text nor token counts",
}


def reason(code: str) -> str:
    """Why a request stays, or goes elsewhere."""
    return _REASONS.get(code) or _REASONS.get(code.partition(":")[0]) or code.replace("_", " ")


def refusal(code: str) -> str:
    """Why a request would be refused."""
    return _REFUSALS.get(code) or code.replace("_", " ")
