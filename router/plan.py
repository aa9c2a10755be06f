"""The values a decision takes and gives. Money is integer nano-USD, ``_nano``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from billing.record import record
from compressor.recipe import Recipe, Way


class Tier(StrEnum):
    """What a model is for, cheapest first; LONG is for prompts beyond the others."""

    SMALL = "small"
    MID = "mid"
    LONG = "long"


@record(frozen=True, slots=True)
class RequestFacts:
    """What the request says of itself, beyond its text.

    ``requested_model`` is the public name or "auto". ``mode`` and ``fit`` are the
    client's tightening headers: mode "pass" forbids everything, ``fit`` is the strongest
    way the client allows. ``in_tool_loop``: the last message is a tool result, so no
    switch is safe. ``signed_thinking``: history holds signed reasoning of one model.
    """

    requested_model: str
    max_output_tokens: int | None = None
    choices: int = 1
    tool_count: int = 0
    image_count: int = 0
    json_schema: bool = False
    reasoning_effort: str | None = None
    stream: bool = False
    mode: str = "route"
    fit: Way = Way.COMPRESS
    in_tool_loop: bool = False
    signed_thinking: bool = False
    human_turns: int = 1


@record(frozen=True, slots=True)
class Reason:
    """One step of the decision: a short code and its figures (JSON-able values)."""

    code: str
    facts: Mapping[str, object] = field(default_factory=dict)


@record(frozen=True, slots=True)
class Candidate:
    """One model with one way of fitting the prompt, priced.

    ``prompt_tokens`` is the expected prompt after the fit; ``expected_nano`` None when
    the price is missing; ``why_not`` None on the chosen one, else one plain sentence.
    ``total_nano`` is what the rest of the conversation is expected to cost on this way,
    this request and what may be asked again included; candidates compare by it.
    """

    model: str
    tier: Tier
    way: Way
    prompt_tokens: int
    expected_nano: int | None
    expected_ms: int
    ok: bool
    why_not: str | None = None
    recipe: Recipe | None = None
    total_nano: int | None = None

    def said(self, why_not: str | None, *, ok: bool) -> Candidate:
        """The same candidate with another verdict."""
        return Candidate(
            self.model,
            self.tier,
            self.way,
            self.prompt_tokens,
            self.expected_nano,
            self.expected_ms,
            ok,
            why_not,
            self.recipe,
            self.total_nano,
        )


@record(frozen=True, slots=True)
class Plan:
    """What will be done with a request and why.

    ``fallbacks`` are tried in order when the choice cannot be carried out (its fit
    refuses, or its upstream fails before the first byte); the request whole to the
    asked-for model is always among choice and fallbacks when it fits there.
    ``would`` is set in observe mode: what would have been chosen. ``chance`` is how likely
    this choice was where exploration might have turned it round.
    """

    choice: Candidate
    reasons: tuple[Reason, ...]
    candidates: tuple[Candidate, ...]
    fallbacks: tuple[Candidate, ...]
    baseline_model: str
    baseline_nano: int | None
    max_output_tokens: int
    would: Candidate | None = None
    chance: float = 1.0
