"""Upstreams behind proxies and odd addresses: the client's bytes out, the provider's bytes back.

aiohttp, not httpx: httpx scans its whole pool for every waiting request and collapses
under many connections (docs/decisions/0008-hot-path.md has the figures).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping

import aiohttp

from gateway.errors import (
    BrokenOff,
    UpstreamFailed,
    UpstreamTimeout,
)
from gateway.upstream.address import credentials, defaults, environment_proxy, root
from gateway.upstream.faults import UNUSABLE, told
from gateway.upstream.patience import Patience
from gateway.upstream.protocol import MAX_REPLY_BYTES, Outbound, Timeouts, refuse_redirect


class DirectUpstream:
    """One provider over a shared connection pool; redirects are never followed."""

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str | None,
        timeouts: Timeouts,
        kind: str = "openai",
    ) -> None:
        self.name = name
        self._base = root(kind, base_url)
        self._defaults = defaults(kind)
        self._timeouts = timeouts
        self._headers = {"content-type": "application/json", "user-agent": "tokenweir"}
        self._headers |= credentials(kind, api_key)
        # Read once: aiohttp's own trust_env looks for ~/.netrc in a thread at every request.
        self._proxy = environment_proxy(self._base)
        self._session: aiohttp.ClientSession | None = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            limits = self._timeouts
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=30,
                    ttl_dns_cache=60,
                    family=socket.AF_UNSPEC,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=limits.total,
                    sock_connect=limits.connect,
                    sock_read=max(limits.first_byte, limits.idle),
                ),
                headers=self._headers,
                auto_decompress=True,
                read_bufsize=256 * 1024,
            )
        return self._session

    async def send(self, call: Outbound) -> DirectReply:
        """See ``Upstream.send``; a kept-alive connection found dead is tried once more."""
        patience = Patience(self._timeouts, asyncio.get_running_loop().time())
        with told(self.name, self._timeouts):
            async with asyncio.timeout(self._timeouts.first_byte):
                try:
                    response = await self._post(call)
                except aiohttp.ServerDisconnectedError:
                    response = await self._post(call)
        if 300 <= response.status < 400:
            response.close()
            raise refuse_redirect(self.name, response.status)
        return DirectReply(self.name, response, patience)

    async def _post(self, call: Outbound) -> aiohttp.ClientResponse:
        return await self._open_session().post(
            self._base + call.path,
            data=call.body,
            headers={**self._defaults, **call.headers},
            allow_redirects=False,
            proxy=self._proxy,
        )

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class DirectReply:
    """A reply on an aiohttp connection."""

    def __init__(self, name: str, response: aiohttp.ClientResponse, patience: Patience) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._name, self._response, self._patience = name, response, patience

    async def read(self) -> bytes:
        """See ``Opened.read``."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > MAX_REPLY_BYTES:
                await self.close()
                raise UpstreamFailed(
                    f"upstream {self._name!r} sent more than {MAX_REPLY_BYTES} bytes"
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """See ``Opened.chunks``."""
        content, patience = self._response.content, self._patience
        clock = asyncio.get_running_loop().time
        try:
            while True:
                async with asyncio.timeout_at(patience.due(clock())):
                    piece = await content.readany()
                if not piece:
                    return
                patience.heard(piece)
                yield piece
        except TimeoutError:
            raise UpstreamTimeout(patience.exceeded(self._name)) from None
        except UNUSABLE as error:
            raise BrokenOff(
                f"upstream {self._name!r} broke off its answer ({type(error).__name__})"
            ) from None

    async def close(self) -> None:
        """See ``Opened.close``."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
