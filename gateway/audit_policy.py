"""The policy that an audit judges by: a weir.yaml, or one assumed from the models of the log.

An audit never observes: a policy in ``mode: observe`` is read as if it routed, since what
it would do is the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from billing.accounts import VirtualKey
from gateway.settings import Settings, parse
from gateway.snapshot import Snapshot, build_snapshot
from router.catalog import bundled_catalog, plain_name

_PROVIDERS = (
    (re.compile(r"^(?:gpt|o[1-9]|chatgpt|text-embedding|davinci|babbage|codex)"), "openai"),
    (re.compile(r"^claude"), "anthropic"),
    (re.compile(r"^(?:gemini|gemma|text-bison|chat-bison)"), "google"),
    (re.compile(r"^grok"), "x-ai"),
    (re.compile(r"^(?:mistral|mixtral|codestral|ministral|magistral|pixtral)"), "mistral"),
    (re.compile(r"^deepseek"), "deepseek"),
    (re.compile(r"^(?:command|embed-)"), "cohere"),
)
# What a policy that is only assumed routes to, one small model a provider.
_SMALL = {
    "openai": "gpt-6-luna",
    "anthropic": "claude-haiku-5-5",
    "google": "gemini-2.5-flash",
}
_ASSUMED_HASH = "0" * 64


def provider_of(model: str, said: str = "") -> str:
    """The price book's provider of a model: as the log says, by its prefix, or by its name."""
    if said:
        return said
    prefix, slash, _ = model.partition("/")
    if slash:
        return prefix
    plain = plain_name(model)
    return next((name for pattern, name in _PROVIDERS if pattern.match(plain)), "")


def routed(settings: Settings) -> Settings:
    """The same settings, acting where they only observe."""
    if settings.policy.mode == "route":
        return settings
    return replace(settings, policy=replace(settings.policy, mode="route"))


def judged(settings: Settings) -> Snapshot:
    """What an audit decides with: a snapshot of an acting policy."""
    return build_snapshot(routed(settings))


def assumed(models: Iterable[tuple[str, str]]) -> str:
    """The text of a weir.yaml that declares each model of a log (name, provider).

    Small models by their name are of tier small, the others mid; each provider with a known
    small model offers it too.
    """
    catalog = bundled_catalog()
    by_provider: dict[str, dict[str, str]] = {}
    for model, said in models:
        provider = provider_of(model, said)
        if provider:
            tier = "small" if catalog.lookup(model).small else "mid"
            by_provider.setdefault(provider, {})[model] = tier
    if not by_provider:
        by_provider["openai"] = {"gpt-6.1-sol": "mid"}
    for provider, declared in by_provider.items():
        small = _SMALL.get(provider)
        if small is not None and "small" not in declared.values():
            declared[small] = "small"
    return _text(by_provider)


def _text(by_provider: Mapping[str, Mapping[str, str]]) -> str:
    lines = [
        "# Assumed by `weir audit`: every model of the log, and a small one of each provider.",
        "version: 1",
        "upstreams:",
        *(
            f"  {_quoted(name)}: {{ kind: litellm, provider: {_quoted(name)} }}"
            for name in by_provider
        ),
        "models:",
    ]
    seen: set[str] = set()
    for provider, declared in by_provider.items():
        for model, tier in declared.items():
            if model not in seen and model != "auto":
                seen.add(model)
                lines.append(
                    f"  {_quoted(model)}: {{ upstream: {_quoted(provider)}, tier: {tier} }}"
                )
    return "\n".join(
        [*lines, "routing: { mode: route }", "keys:", f"  audit: sha256:{_ASSUMED_HASH}", ""]
    )


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''").replace("$", "") + "'"


class Declared:
    """Which declared model a log's name means: the name itself, or the same model elsewhere."""

    def __init__(self, settings: Settings) -> None:
        self._exact = {name: name for name in settings.models}
        self._plain: dict[str, str] = {}
        for name, entry in settings.models.items():
            for known in (name, entry.model or name):
                self._exact.setdefault(known, name)
                self._plain.setdefault(plain_name(known), name)

    def find(self, model: str) -> str | None:
        """The public name of ``model``, or None where the policy declares no such."""
        if model == "auto":
            return model
        return self._exact.get(model) or self._plain.get(plain_name(model))


def key_for(settings: Settings, name: str | None) -> VirtualKey:
    """The key whose policy holds: the one named, else the first, else one without any rule.

    Raises:
        KeyError: no key of that name.
    """
    if name is not None:
        found = settings.accounts.named(name)
        if found is None:
            raise KeyError(name)
        return found
    keys = list(settings.accounts.keys.values())
    if keys:
        return keys[0]
    return VirtualKey("audit", _ASSUMED_HASH, ("organisation",), "default", None)


def keys_by_team(settings: Settings) -> dict[str, VirtualKey]:
    """One key of each team, under whose rules that team's rows of a log are judged."""
    found: dict[str, VirtualKey] = {}
    for key in settings.accounts.keys.values():
        found.setdefault(key.team, key)
    return found


def load_assumed(models: Iterable[tuple[str, str]]) -> tuple[Settings, str]:
    """Settings of an assumed policy, and its text."""
    text = assumed(models)
    return parse(text, "assumed-weir.yaml", {}), text
