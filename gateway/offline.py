"""The environment of a command that sends nothing."""

from __future__ import annotations


class Offline(dict[str, str]):
    """An environment in which every variable is set: without a call, no credential is needed."""

    def get(self, key: str, default: str | None = None) -> str:  # type: ignore[override]  # never None
        """The value, or a stand-in."""
        return super().get(key) or default or "unset"
