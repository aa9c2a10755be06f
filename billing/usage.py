"""Provider reports as disjoint token buckets.

Every adapter takes one usage object as a provider sent it and splits it so that no token
stands in two buckets: the input buckets sum to the provider's prompt total, the output
buckets to its completion total, and none is negative. Providers differ in whether cached
tokens stand inside the input count, so that convention is an argument, never a guess.

What cannot be split raises ``UsageInvalid``; ``or_fallback`` turns that into a flagged
estimate, for callers that must not fail (a bill is due whatever the provider reported).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Literal

from billing.errors import UsageInvalid
from billing.record import record

Convention = Literal["inclusive", "exclusive"]

MAX_TOKENS = 1_000_000_000
"""No single request meters more; a larger figure is a broken report."""


@record(frozen=True, slots=True)
class Usage:
    """What a provider metered, split so that no token stands in two buckets.

    ``input_tokens`` are uncached text input only; ``output_tokens`` exclude reasoning
    and audio. All counts are >= 0. ``source`` is "provider" or "estimated"; ``raw`` the
    provider's own usage JSON; ``unknown`` the keys of it that no bucket took.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_30m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    tool_calls: Mapping[str, int] = field(default_factory=dict)
    source: str = "provider"
    raw: Mapping[str, object] | None = None
    unknown: tuple[str, ...] = ()

    @property
    def cache_write_tokens(self) -> int:
        """Tokens written to the provider's cache, all lifetimes."""
        return (
            self.cache_write_5m_tokens
            + self.cache_write_30m_tokens
            + self.cache_write_1h_tokens
            + self.cache_write_12h_tokens
        )

    @property
    def prompt_tokens(self) -> int:
        """All input: cached, cache-write, audio and image tokens included."""
        return (
            self.input_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_30m_tokens
            + self.cache_write_1h_tokens
            + self.cache_write_12h_tokens
            + self.input_audio_tokens
            + self.input_image_tokens
        )

    @property
    def completion_tokens(self) -> int:
        """All output: reasoning, audio and image tokens included."""
        return (
            self.output_tokens
            + self.reasoning_tokens
            + self.output_audio_tokens
            + self.output_image_tokens
        )

    @property
    def billed_tokens(self) -> int:
        """Every metered token, once."""
        return self.prompt_tokens + self.completion_tokens


def estimated(
    prompt_tokens: int, completion_tokens: int, *, raw: Mapping[str, object] | None = None
) -> Usage:
    """A usage counted by ourselves, nothing cached: never lower than what cached would cost."""
    return Usage(
        input_tokens=max(prompt_tokens, 0),
        output_tokens=max(completion_tokens, 0),
        source="estimated",
        raw=raw,
    )


def or_fallback(
    read: Callable[[Mapping[str, object]], Usage], raw: object, fallback: Usage
) -> Usage:
    """``read(raw)``, or ``fallback`` flagged as estimated where the report is absurd.

    Never raises: a broken report keeps its raw JSON and lists why under ``unknown``.
    """
    if not isinstance(raw, Mapping):
        return replace(fallback, source="estimated", unknown=("usage",))
    try:
        return read(raw)
    except UsageInvalid as error:
        return replace(fallback, source="estimated", raw=raw, unknown=(f"invalid: {error}",))


def chat_usage(raw: Mapping[str, object], *, convention: Convention = "inclusive") -> Usage:
    """OpenAI's chat and completions usage, and what other providers send in that shape.

    Where the report's own ``total_tokens`` shows that reasoning stands outside
    ``completion_tokens`` (xAI), it is added. Raises UsageInvalid.
    """
    usual = _usual(raw) if convention == "inclusive" else None
    if usual is not None:
        return usual
    report = _Report(raw)
    prompt_parts = _Report(report.mapping("prompt_tokens_details"), "prompt_tokens_details")
    output_parts = _Report(report.mapping("completion_tokens_details"), "completion_tokens_details")
    whole = _Whole(
        report.count("prompt_tokens"),
        report.count("completion_tokens"),
        report.optional("total_tokens"),
    )
    cached = max(
        prompt_parts.count("cached_tokens"),
        report.count("prompt_cache_hit_tokens"),
        report.count("cache_read_input_tokens"),
        report.count("cached_tokens"),
    )
    report.known("prompt_cache_miss_tokens", "cost", "cache_creation_input_tokens")
    return _split(whole, (report, prompt_parts, output_parts), convention, cached)


def responses_usage(raw: Mapping[str, object], *, convention: Convention = "inclusive") -> Usage:
    """OpenAI's responses usage. Raises UsageInvalid."""
    report = _Report(raw)
    prompt_parts = _Report(report.mapping("input_tokens_details"), "input_tokens_details")
    output_parts = _Report(report.mapping("output_tokens_details"), "output_tokens_details")
    whole = _Whole(
        report.count("input_tokens"), report.count("output_tokens"), report.optional("total_tokens")
    )
    cached = prompt_parts.count("cached_tokens")
    return _split(whole, (report, prompt_parts, output_parts), convention, cached)


def embeddings_usage(raw: Mapping[str, object]) -> Usage:
    """OpenAI's embeddings usage: input only. Raises UsageInvalid."""
    report = _Report(raw)
    prompt = report.count("prompt_tokens")
    if prompt == 0:
        prompt = report.count("total_tokens")
    report.known("total_tokens", "completion_tokens")
    return Usage(input_tokens=prompt, raw=raw, unknown=report.left())


def messages_usage(raw: Mapping[str, object], *, convention: Convention = "exclusive") -> Usage:
    """Anthropic's messages usage; its ``input_tokens`` exclude cache reads and writes.

    Writes without a breakdown by lifetime are 5-minute writes, Anthropic's default.
    Raises UsageInvalid.
    """
    report = _Report(raw)
    written = report.count("cache_creation_input_tokens")
    lifetimes = _Report(report.mapping("cache_creation"), "cache_creation")
    five, hour = (
        lifetimes.count("ephemeral_5m_input_tokens"),
        lifetimes.count("ephemeral_1h_input_tokens"),
    )
    if five + hour == 0:
        five = written
    elif written and five + hour != written:
        raise UsageInvalid(
            f"cache_creation sums to {five + hour}, cache_creation_input_tokens is {written}"
        )
    fresh, read = report.count("input_tokens"), report.count("cache_read_input_tokens")
    if convention == "inclusive":
        fresh = _minus(fresh, read + five + hour, "input_tokens")
    parts = _Report(report.mapping("output_tokens_details"), "output_tokens_details")
    output = report.count("output_tokens")
    thinking = max(parts.count("thinking_tokens"), parts.count("reasoning_tokens"))
    calls = _Report(report.mapping("server_tool_use"), "server_tool_use")
    searches = {
        name.removesuffix("_requests"): count for name, count in calls.all_counts().items() if count
    }
    report.known("service_tier", "inference_geo", "speed", "iterations")
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=read,
        cache_write_5m_tokens=five,
        cache_write_1h_tokens=hour,
        output_tokens=_minus(output, thinking, "output_tokens"),
        reasoning_tokens=thinking,
        tool_calls=searches,
        raw=raw,
        unknown=report.left() + lifetimes.left() + parts.left(),
    )


_DETAILS = ("prompt_tokens_details", "completion_tokens_details")
_TOTALS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", *_DETAILS})


def _usual(raw: Mapping[str, object]) -> Usage | None:
    """A report as nearly all are: text, perhaps cached, perhaps reasoned, totals that agree.

    None where anything asks for the closer look, which takes some eighty calls instead of ten.
    """
    if not raw.keys() <= _TOTALS:
        return None
    prompt, completion = raw.get("prompt_tokens"), raw.get("completion_tokens")
    cached = _alone("cached_tokens", raw.get(_DETAILS[0]))
    reasoning = _alone("reasoning_tokens", raw.get(_DETAILS[1]))
    if type(prompt) is not int or type(completion) is not int:
        return None
    if not (0 <= cached <= prompt <= MAX_TOKENS and 0 <= reasoning <= completion <= MAX_TOKENS):
        return None
    total = raw.get("total_tokens")
    if type(total) is not int or total != prompt + completion:
        return None
    return Usage(
        input_tokens=prompt - cached,
        cache_read_tokens=cached,
        output_tokens=completion - reasoning,
        reasoning_tokens=reasoning,
        raw=raw,
    )


def _alone(key: str, details: object) -> int:
    """The count at ``key`` of an object in which no other count is above 0; else -1."""
    if details is None:
        return 0
    if type(details) is not dict:
        return -1
    found = 0
    for name, value in details.items():
        if value is None:
            continue
        if type(value) is not int or (value and name != key):
            return -1
        if name == key:
            found = value
    return found


@record(frozen=True, slots=True)
class _Whole:
    """The provider's own totals."""

    prompt: int
    completion: int
    total: int | None


def _split(
    whole: _Whole, reports: tuple[_Report, _Report, _Report], convention: Convention, cached: int
) -> Usage:
    """The buckets of an OpenAI-shaped report."""
    report, prompt_parts, output_parts = reports
    writes = _writes(report, prompt_parts)
    audio, image = prompt_parts.count("audio_tokens"), prompt_parts.count("image_tokens")
    prompt = whole.prompt
    if convention == "exclusive":
        prompt += cached + sum(writes)
    # Cached audio or image tokens are reported in both figures: the dearer bucket keeps them.
    overlap = cached + sum(writes) + audio + image - prompt
    if 0 < overlap <= min(cached, audio + image):
        cached -= overlap
    fresh = _minus(prompt, cached + sum(writes) + audio + image, "prompt tokens")
    reasoning = output_parts.count("reasoning_tokens")
    completion = whole.completion
    sums = {whole.prompt + completion, prompt + completion}
    if reasoning and whole.total not in sums and whole.total in {x + reasoning for x in sums}:
        completion += reasoning
    speech, pictures = output_parts.count("audio_tokens"), output_parts.count("image_tokens")
    spoken = _minus(completion, reasoning + speech + pictures, "completion tokens")
    prompt_parts.known("tool_use_tokens")  # Gemini's, inside the prompt as litellm counts it
    for parts in (prompt_parts, output_parts):
        parts.known("text_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
    unknown = report.left() + prompt_parts.left() + output_parts.left()
    if whole.total and whole.total not in {prompt + completion, whole.prompt + completion}:
        unknown += ("total_tokens",)
    return Usage(
        input_tokens=fresh,
        cache_read_tokens=cached,
        cache_write_30m_tokens=writes[0],
        cache_write_5m_tokens=writes[1],
        cache_write_1h_tokens=writes[2],
        input_audio_tokens=audio,
        input_image_tokens=image,
        output_tokens=spoken,
        reasoning_tokens=reasoning,
        output_audio_tokens=speech,
        output_image_tokens=pictures,
        tool_calls=_tool_calls(report, prompt_parts),
        raw=report.raw,
        unknown=unknown,
    )


def _writes(report: _Report, parts: _Report) -> tuple[int, int, int]:
    """Cache writes as (30 minutes, 5 minutes, 1 hour): OpenAI's own are of the first kind."""
    written = max(
        parts.count("cache_write_tokens"),
        parts.count("cache_creation_tokens"),
        report.count("cache_creation_input_tokens"),
    )
    lifetimes = _Report(parts.mapping("cache_creation_token_details"), "cache_creation")
    five = lifetimes.count("ephemeral_5m_input_tokens")
    hour = lifetimes.count("ephemeral_1h_input_tokens")
    return _minus(written, five + hour, "cache writes"), five, hour


def _tool_calls(report: _Report, parts: _Report) -> dict[str, int]:
    """Tool calls billed by the call, by kind."""
    served = _Report(report.mapping("server_tool_use"), "server_tool_use").all_counts()
    calls = {name.removesuffix("_requests"): count for name, count in served.items() if count}
    searches = max(parts.count("web_search_requests"), report.count("num_search_queries"))
    if searches and "web_search" not in calls:
        calls["web_search"] = searches
    return calls


class _Report:
    """A usage object being read: remembers which keys were taken."""

    __slots__ = ("_name", "_taken", "raw")

    def __init__(self, raw: Mapping[str, object], name: str = "") -> None:
        self.raw = raw
        self._name = name
        self._taken: set[str] = set()

    def count(self, key: str) -> int:
        """The count at ``key``; 0 where absent or null. Raises UsageInvalid."""
        return self.optional(key) or 0

    def optional(self, key: str) -> int | None:
        """The count at ``key``, None where absent or null. Raises UsageInvalid."""
        self._taken.add(key)
        value = self.raw.get(key)
        if value is None:
            return None
        if value.__class__ is int and 0 <= value <= MAX_TOKENS:
            return value  # nearly all are
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageInvalid(f"{self._at(key)} is {type(value).__name__}, not a count")
        if not 0 <= value <= MAX_TOKENS:
            raise UsageInvalid(f"{self._at(key)} is {'negative' if value < 0 else 'absurdly high'}")
        return value

    def all_counts(self) -> dict[str, int]:
        """Every key with a count. Raises UsageInvalid."""
        return {key: self.count(key) for key in self.raw}

    def mapping(self, key: str) -> Mapping[str, object]:
        """The object at ``key``; empty where absent or null. Raises UsageInvalid."""
        self._taken.add(key)
        value = self.raw.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise UsageInvalid(f"{self._at(key)} is {type(value).__name__}, not an object")
        return value

    def known(self, *keys: str) -> None:
        """These keys carry no bucket of their own and are no surprise."""
        self._taken.update(keys)

    def left(self) -> tuple[str, ...]:
        """Keys with a value that nobody took, sorted."""
        rest = (key for key, value in self.raw.items() if value and key not in self._taken)
        return tuple(sorted(self._at(str(key)) for key in rest))

    def _at(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def _minus(whole: int, parts: int, name: str) -> int:
    """``whole - parts``. Raises UsageInvalid where the parts are more than the whole."""
    if parts > whole:
        raise UsageInvalid(f"parts of {name} sum to {parts}, the whole is {whole}")
    return whole - parts
