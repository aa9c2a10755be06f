"""`weir init`: a commented starter configuration for the API keys in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway import auth


@dataclass(frozen=True, slots=True)
class Provider:
    """What a starter file says of one provider."""

    name: str
    variable: str
    upstream: str
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Starter:
    """The text of a starter file, its providers, and the one secret it was made with."""

    text: str
    providers: tuple[str, ...]
    secret: str


_PROVIDERS = (
    Provider(
        "openai",
        "OPENAI_API_KEY",
        "{ kind: openai, api_key: ${OPENAI_API_KEY} }",
        (
            "gpt-6-luna:        { upstream: openai, tier: small }",
            "gpt-6.1-sol:       { upstream: openai, tier: mid }",
        ),
    ),
    Provider(
        "anthropic",
        "ANTHROPIC_API_KEY",
        "{ kind: anthropic, api_key: ${ANTHROPIC_API_KEY} }",
        (
            "claude-haiku-5-5:  { upstream: anthropic, tier: small }",
            "claude-sonnet-5-5: { upstream: anthropic, tier: mid }",
        ),
    ),
    Provider(
        "google",
        "GEMINI_API_KEY",
        "{ kind: litellm, api_key: ${GEMINI_API_KEY}, provider: google }",
        ("gemini-4-argon:    { upstream: google, model: gemini/gemini-4-argon, tier: long }",),
    ),
)
_BASELINES = ("gpt-6.1-sol", "claude-sonnet-5-5", "gemini-4-argon")


def starter(environ: Mapping[str, str]) -> Starter:
    """A configuration that loads as it stands; without any key found, OpenAI's is shown."""
    found = [p for p in _PROVIDERS if environ.get(p.variable)]
    note = ""
    if not found:
        found = [_PROVIDERS[0]]
        note = "# No provider key was found in the environment: export OPENAI_API_KEY first.\n"
    secret = auth.new_secret()
    models = [line for provider in found for line in provider.models]
    names = {line.split(":")[0] for line in models}
    baseline = next(name for name in _BASELINES if name in names)
    lines = [
        "# Tokenweir. Every key is explained in docs/reference/configuration.md.",
        f"{note}version: 1",
        "timezone: UTC                         # calendar budgets start at local midnight here",
        "database: sqlite:///weir.db",
        "",
        "upstreams:",
        *(f"  {p.name}: {p.upstream}" for p in found),
        "",
        "models:                               # public name -> where it is, what it is for",
        *(f"  {line}" for line in models),
        "",
        "routing:",
        "  mode: observe                       # change nothing yet, record what would be saved;",
        "                                      # `route` acts on it",
        f"  baseline: {baseline}",
        "fit: { allow: [lossless, trim, compress] }",
        "holdout: 5% of sessions               # sent untouched, so that savings are measured",
        "",
        "# budget: 1000 per month              # for the whole organisation",
        "limits: { max_output: 16000 }         # fills a missing max_tokens: bounds every hold",
        "",
        "teams:",
        "  default:",
        "    keys: [first]",
        "    # budget: [500 per month, 50 per day]",
        "",
        "keys:                                 # hashes only; `weir keys new NAME` makes more",
        f"  first: {auth.hash_of(secret)}",
        "",
    ]
    return Starter("\n".join(lines), tuple(p.name for p in found), secret)
