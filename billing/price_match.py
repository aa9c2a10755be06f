"""Which entry of the price book a provider's model name means."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

ALIASES = {
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "amazon": "aws",
    "cohere_chat": "cohere",
    "databricks": "databricks",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "github_copilot": "github-copilot",
    "moonshot": "moonshotai",
    "sagemaker": "aws",
    "together_ai": "together",
    "vertex": "google",
    "vertex_ai": "google",
    "vertex_ai_beta": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""Names that gateways and SDKs use for a provider, and the price book's own."""

_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": str.__eq__,
    "start": str.startswith,
    "end": str.endswith,
    "in": str.__contains__,
    "re": lambda model, pattern: re.search(pattern, model) is not None,
}
_JOINS: Mapping[str, Callable[[Iterable[bool]], bool]] = {"or": any, "and": all}
_COMPACT_DATE = re.compile(r"(-)(20\d{2})(\d{2})(\d{2})(?=-|:|$)")


def provider_id(name: str) -> str:
    """The price book's name of a provider."""
    lowered = name.lower()
    return ALIASES.get(lowered, lowered)


def dashed_date(model: str) -> str:
    """``name-20261121`` as ``name-2026-11-21``; unchanged where that is no date."""

    def replace(found: re.Match[str]) -> str:
        year, month, day = (int(found.group(index)) for index in (2, 3, 4))
        try:
            return f"-{date(year, month, day).isoformat()}"
        except ValueError:
            return found.group(0)

    return _COMPACT_DATE.sub(replace, model)


def matches(clause: Sequence[object], model: str) -> bool:
    """Whether a rule of the snapshot holds for a lower-case model name.

    Raises:
        ValueError: a rule of an unknown kind.
    """
    kind, value = clause
    if isinstance(value, str) and kind in _TESTS:
        return _TESTS[str(kind)](model, value)
    if isinstance(value, Sequence) and kind in _JOINS:
        return _JOINS[str(kind)](matches(part, model) for part in value)
    raise ValueError(f"unknown match rule {kind!r}")
