"""What lies at a provider: files and batches, reached with any method, streamed both ways.

aiohttp, imported at the first use: a gateway that nobody asks for files pays nothing for it.
An object lives in one account, so of an upstream with several endpoints the first is asked.
Bodies go through in pieces; what the provider sends is given as it came.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import BrokenOff, UpstreamFailed, UpstreamTimeout
from gateway.settings import UpstreamSpec
from gateway.stream import scrubbed
from gateway.upstream.address import credentials, defaults, environment_proxy, root
from gateway.upstream.protocol import MAX_REPLY_BYTES, refuse_redirect

if TYPE_CHECKING:
    import aiohttp

PIECE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: ``path`` below the address that chat's own path is added to."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | AsyncIterator[bytes] | None = None


class Stored:
    """An answer whose status and headers are in; its body is read, or taken in pieces."""

    def __init__(self, name: str, response: aiohttp.ClientResponse, secret: str | None) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._name, self._response = name, response
        self._secrets = (secret,) if secret else ()

    async def read(self) -> bytes:
        """The whole body, a refusal without our credential in it.

        Raises:
            UpstreamFailed, UpstreamTimeout: cut off, too long, or silent.
        """
        pieces, size = [], 0
        async for piece in self.chunks():
            size += len(piece)
            if size > MAX_REPLY_BYTES:
                raise UpstreamFailed(
                    f"upstream {self._name!r} sent more than {MAX_REPLY_BYTES} bytes"
                )
            pieces.append(piece)
        body = b"".join(pieces)
        return scrubbed(body, self._secrets) if self.status >= 400 else body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises as ``read`` does, but for its length."""
        errors = importlib.import_module("aiohttp")
        try:
            async for piece in self._response.content.iter_chunked(PIECE_BYTES):
                yield piece
        except TimeoutError:
            raise UpstreamTimeout(f"upstream {self._name!r} fell silent") from None
        except (errors.ClientError, OSError, ValueError) as error:
            raise BrokenOff(
                f"upstream {self._name!r} broke off its answer ({type(error).__name__})"
            ) from None
        finally:
            self.close()

    async def lines(self) -> AsyncIterator[bytes]:
        """The body's lines that are not empty, as they arrive.

        Raises:
            UpstreamFailed: as ``read``; a line alone may be as long as a whole answer.
        """
        rest = b""
        async for piece in self.chunks():
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > MAX_REPLY_BYTES:
                raise UpstreamFailed(f"upstream {self._name!r} sent a line that never ends")
            for line in whole:
                if line.strip():
                    yield line
        if rest.strip():
            yield rest

    def close(self) -> None:
        """Give the connection back, or drop it where the body was not read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Storage:
    """One provider's files and batches."""

    def __init__(self, spec: UpstreamSpec) -> None:
        first = spec.endpoints[0] if spec.endpoints else None
        base = (first and first.base_url) or spec.base_url or ""
        self._secret = (first and first.api_key) or spec.api_key
        self.spec, self.name = spec, spec.name
        self._base = root(spec.kind, base)
        self._proxy = environment_proxy(self._base)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, ask: Ask) -> Stored:
        """Send and wait for the status.

        Raises:
            UpstreamFailed: nothing was sent, or redirected. Unanswered: no status came back.
            UpstreamTimeout: no connection or no status in time.
        """
        from gateway.upstream.faults import told

        session = await self._opened()
        library = importlib.import_module("aiohttp")
        wait = library.ClientTimeout(
            total=None,
            sock_connect=self.spec.timeouts.connect,
            sock_read=max(self.spec.timeouts.first_byte, self.spec.timeouts.idle),
        )
        headers = {**defaults(self.spec.kind), **ask.headers, "accept-encoding": "identity"}
        headers |= credentials(self.spec.kind, self._secret)
        with told(self.name, self.spec.timeouts):
            response = await session.request(
                ask.method,
                self._base + ask.path,
                headers=headers,
                data=ask.body,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=wait,
            )
        if 300 <= response.status < 400:
            response.close()
            raise refuse_redirect(self.name, response.status)
        return Stored(self.name, response, self._secret)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            library = await asyncio.to_thread(importlib.import_module, "aiohttp")
            if self._session is None:
                self._session = library.ClientSession(
                    cookie_jar=library.DummyCookieJar(),
                    headers={"user-agent": "tokenweir"},
                    auto_decompress=False,
                )
        return self._session
