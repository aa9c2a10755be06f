"""What an upstream's address and the environment say of the way to it."""

from __future__ import annotations

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
