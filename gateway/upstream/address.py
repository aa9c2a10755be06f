"""What an upstream's address and the environment say of the way to it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def environment_proxy(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY and NO_PROXY name for a URL, or None."""
    parts = urlsplit(url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


def suits(base_url: str) -> bool:
    """Whether an address is plain enough for the lean client."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return (
        parts.scheme in {"http", "https"}
        and bool(host)
        and parts.netloc.isascii()
        and base_url.isprintable()
        and " " not in base_url
        and not (parts.username or parts.password or parts.query or parts.fragment)
    )


def credentials(kind: str, api_key: str | None) -> Mapping[str, str]:
    """The headers by which a kind of provider knows its caller."""
    if not api_key:
        return {}
    if kind == "anthropic":
        return {"x-api-key": api_key}
    return {"authorization": f"Bearer {api_key}"}


def defaults(kind: str) -> Mapping[str, str]:
    """Headers that a kind of provider insists on, where the client sent none."""
    return {"anthropic-version": "2023-06-01"} if kind == "anthropic" else {}


def root(kind: str, base_url: str) -> str:
    """The address that a wire's path is added to, without the slash at its end."""
    base = base_url.rstrip("/")
    return base.removesuffix("/v1") if kind == "anthropic" else base
