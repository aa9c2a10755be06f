"""Upstreams on plain sockets: HTTP/1.1 by httptools, nothing in between.

It does what this gateway needs of a client and no more: one POST at a time on a connection,
TLS, keep-alive, 1xx, chunked and counted and unbounded bodies, gzip where a provider insists,
limits and time-outs. Proxies and addresses with a user name go through ``direct``
(docs/decisions/0011-upstream-client.md has the figures and the price of the upkeep).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

import aiohappyeyeballs

from gateway.errors import ConnectTimeout, Unanswered, UpstreamFailed
from gateway.upstream.address import credentials, defaults, root
from gateway.upstream.lean_wire import Connection, LeanReply
from gateway.upstream.protocol import Outbound, Timeouts, refuse_redirect

KEEP_ALIVE_S = 30.0
STALE_S = 0.25
"""A kept-alive connection that closes this soon was closed before the request reached it; one
that closes later may have done the work, and a second try would be billed, too."""
_SECOND_ADDRESS_S = 0.25  # after which the next address of a host is tried, too


class LeanUpstream:
    """One provider over kept-alive connections; redirects are never followed."""

    def __init__(
        self,
        name: str,
        base_url: str,
        api_key: str | None,
        timeouts: Timeouts,
        kind: str = "openai",
    ) -> None:
        self.name = name
        self.timeouts = timeouts
        parts = urlsplit(root(kind, base_url))
        self._defaults = defaults(kind)
        self._host = parts.hostname or ""
        self._tls = _tls() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path
        lines = [f"host: {parts.netloc}", "content-type: application/json", "accept: */*"]
        lines += ["accept-encoding: identity", "user-agent: tokenweir"]
        lines += [f"{header}: {value}" for header, value in credentials(kind, api_key).items()]
        self._fixed = ("\r\n".join(lines) + "\r\n").encode()
        self._idle: dict[Connection, float] = {}

    async def send(self, call: Outbound) -> LeanReply:
        """See ``Upstream.send``; a kept-alive connection found dead is tried once more."""
        head = self._head(call)
        connection = self._take()
        if connection is not None:
            began = asyncio.get_running_loop().time()
            reply = await self._ask(connection, head, call.body)
            if reply is not None:
                return reply
            if asyncio.get_running_loop().time() - began > STALE_S:
                raise Unanswered(f"upstream {self.name!r} closed its connection without an answer")
        fresh = await self._ask(await self._connect(), head, call.body)
        if fresh is None:
            raise Unanswered(f"upstream {self.name!r} closed its connection without an answer")
        return fresh

    def _head(self, call: Outbound) -> bytes:
        lines = [b"POST %b HTTP/1.1\r\n" % (self._path + call.path).encode(), self._fixed]
        for name, value in call.headers.items():
            if "\r" in value or "\n" in value:
                raise UpstreamFailed(f"header {name} cannot be sent on")
            lines.append(f"{name}: {value}\r\n".encode("latin-1"))
        for name, value in self._defaults.items():
            if name not in call.headers:
                lines.append(f"{name}: {value}\r\n".encode("latin-1"))
        lines.append(b"content-length: %d\r\n\r\n" % len(call.body))
        return b"".join(lines)

    async def _ask(self, connection: Connection, head: bytes, body: bytes) -> LeanReply | None:
        """The reply whose head is in; None where the connection closed before any byte of it."""
        reply = LeanReply(self.name, connection, self.timeouts)
        try:
            connection.begin(reply, head, body)
            if not await reply.begun():
                return None
        except BaseException:
            reply.stop()
            connection.abort()
            raise
        if 300 <= reply.status < 400:
            reply.stop()
            connection.abort()
            raise refuse_redirect(self.name, reply.status)
        return reply

    def _take(self) -> Connection | None:
        """The connection used last, if any is alive."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.usable and now - since < KEEP_ALIVE_S:
                return connection
            connection.abort()
        return None

    def keep(self, connection: Connection) -> None:
        """Take back a connection that may be used again; let one that waited long go."""
        now = asyncio.get_running_loop().time()
        self._idle[connection] = now
        oldest = next(iter(self._idle))
        if now - self._idle[oldest] > KEEP_ALIVE_S:
            oldest.abort()

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._idle.pop(connection, None)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeouts.connect):
                addresses = await loop.getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM, family=socket.AF_UNSPEC
                )
                plain = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_SECOND_ADDRESS_S, interleave=1, loop=loop
                )
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(self),
                        sock=plain,
                        ssl=self._tls,
                        server_hostname=self._host if self._tls else None,
                    )
                except BaseException:
                    plain.close()
                    raise
        except TimeoutError:
            raise ConnectTimeout(
                f"upstream {self.name!r}: no connection within {self.timeouts.connect:g} s; raise "
                f"upstreams.{self.name}.timeouts.connect if it is far away"
            ) from None
        except (OSError, ValueError) as error:
            raise UpstreamFailed(
                f"upstream {self.name!r} could not be reached ({type(error).__name__})"
            ) from None
        return connection

    async def close(self) -> None:
        """Close every connection that waits; those in use end with their requests."""
        for connection in list(self._idle):
            connection.abort()
        self._idle.clear()


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
