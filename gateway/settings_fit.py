"""What `fit:` refers to is there and can be asked: upstreams that summarise or embed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gateway.yaml_text import Document, Location
from router.policy import EmbedderSection, FitSection, ModelEntry

if TYPE_CHECKING:
    from gateway.settings import UpstreamSpec


def check_fit(
    fit: FitSection,
    models: Mapping[str, ModelEntry],
    upstreams: Mapping[str, UpstreamSpec],
    document: Document,
) -> None:
    """Raise ConfigError where a backend cannot be asked."""
    if fit.summarizer.backend == "openai":
        _asked(("fit", "summarizer", "upstream"), fit.summarizer.upstream, upstreams, document)
    section = fit.embedder
    if not isinstance(section, EmbedderSection):
        return
    where: Location = ("fit", "embedder", "upstream")
    _asked(where, section.upstream, upstreams, document)
    if not any(
        entry.free and entry.upstream == section.upstream and (entry.model or name) == section.name
        for name, entry in models.items()
    ):
        raise document.error(
            where,
            f"nothing says that {section.name!r} of {section.upstream!r} costs nothing",
            "an embedder is asked for every trim and is not billed: declare under `models:` an "
            f"entry with `upstream: {section.upstream}`, `model: {section.name}` and `free: true`",
        )


def _asked(
    where: Location,
    name: str | None,
    upstreams: Mapping[str, UpstreamSpec],
    document: Document,
) -> None:
    """The upstream is declared and speaks OpenAI's wire."""
    upstream = upstreams.get(name or "")
    if upstream is None:
        raise document.missing(where, name or "", "upstream", upstreams)
    if upstream.kind != "openai":
        raise document.error(
            where,
            f"{name!r} does not speak OpenAI's wire",
            "name an upstream of `kind: openai`, or use a backend of this process",
        )
