"""What `weir policy lint` finds where keys meet models: a key that nothing may serve."""

from __future__ import annotations

from collections.abc import Iterator

from billing.policy_lint import Lint
from gateway.settings import Settings, policy_of, served_in


def lint_models(settings: Settings) -> Iterator[Lint]:
    """Keys whose `allow` and `region` leave no declared model."""
    models, upstreams = settings.models, settings.upstreams
    for key in settings.accounts.keys.values():
        policy = policy_of(settings.policy, key, models, upstreams)
        if any(policy.permits(name, entry.tier) for name, entry in models.items()):
            continue
        text = "no declared model may serve it: `allow` of its levels have none in common"
        if key.region is not None:
            there = ", ".join(sorted(served_in(key.region, models, upstreams))) or "none"
            text = (
                f"no declared model may serve it: in region {key.region!r} there is {there}; write "
                f"`region: {key.region}` at a model, or at an upstream, that serves there"
            )
        yield Lint(f"keys.{key.name}", text, error=True)
