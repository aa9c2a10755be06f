"""What both HTTP clients promise of any provider, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.errors import BrokenOff, Unanswered, UpstreamFailed, UpstreamTimeout
from gateway.settings import UpstreamSpec
from gateway.upstream.address import suits
from gateway.upstream.build import client as client_of
from gateway.upstream.direct import DirectUpstream
from gateway.upstream.lean import LeanUpstream
from gateway.upstream.protocol import Outbound, Timeouts, Upstream

BODY = b'{"answer": "' + b"x" * 300 + b'"}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
COUNTED = HEAD + b"content-length: %d\r\n\r\n" % len(BODY)
SHORT = Timeouts(connect=1, first_byte=0.4, idle=0.3, total=1.0)
# Made for this file: valid for localhost until 2125, trusted by nobody else.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBlTCCATugAwIBAgIUMEAwujW/eVYQYlEeTeePaQqVDA4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjAxNTgxNFoYDzIxMjYxMDI5
MDE1ODE0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAR0QTXWaKDvuOweMxpplRS9ZNA64JZ5nBaHsU96z81JJgB4+yUJbeMZ
a/K6reAvTf4RqdaqRR989P9fg03hDmgCo2kwZzAdBgNVHQ4EFgQU8QMl5hOdhmmo
J1lhLmoCR2UwxocwHwYDVR0jBBgwFoAU8QMl5hOdhmmoJ1lhLmoCR2UwxocwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SAAwRQIhAJutMPyyZx1t3FjDkKroHvdRtKMNhZIE6jvGrkcqZFmpAiACWwcXBGei
J1QejNbWwIpseJhR/MTHumbn4eUWA0Tl8A==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRmntOphogEAGz6QV
JDxrHlUeLtuyxmYBaySm+md2sS6hRANCAAR0QTXWaKDvuOweMxpplRS9ZNA64JZ5
nBaHsU96z81JJgB4+yUJbeMZa/K6reAvTf4RqdaqRR989P9fg03hDmgC
-----END PRIVATE KEY-----
"""
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


@dataclass
class Provider:
    """A server whose every answer is written by the test; it counts connections and requests."""

    port: int = 0
    connections: int = 0
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, reader: asyncio.StreamReader) -> None:
        """One whole request."""
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.requests.append((head, await reader.readexactly(size)))


@contextlib.asynccontextmanager
async def provider(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """Serve ``answer(reader, writer, number of the request on this connection)``."""
    made = Provider()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        number = 0
        try:
            while not writer.is_closing():
                await made.read(reader)
                number += 1
                await answer(reader, writer, number)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            made.gone.set()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@pytest.fixture(params=[LeanUpstream, DirectUpstream], ids=["lean", "direct"])
def kind(request: pytest.FixtureRequest) -> type[LeanUpstream] | type[DirectUpstream]:
    """Both clients, one after the other."""
    found: type[LeanUpstream] | type[DirectUpstream] = request.param
    return found


Kind = type[LeanUpstream] | type[DirectUpstream]


@contextlib.asynccontextmanager
async def client(
    kind: Kind, made: Provider, limits: Timeouts | None = None, scheme: str = "http"
) -> AsyncIterator[Upstream]:
    """A client of the provider."""
    host = "localhost" if scheme == "https" else "127.0.0.1"
    upstream = kind("p", f"{scheme}://{host}:{made.port}/v1/", "secret", limits or Timeouts())
    try:
        yield upstream
    finally:
        await upstream.close()


def call(body: bytes = b'{"model": "m"}', **headers: str) -> Outbound:
    """One request."""
    return Outbound("chat", "/chat/completions", body, stream=False, model="m", headers=headers)


async def ask(upstream: Upstream, outbound: Outbound | None = None) -> tuple[int, bytes]:
    """Status and body of one request, the reply closed."""
    reply = await upstream.send(outbound or call())
    try:
        return reply.status, await reply.read()
    finally:
        await reply.close()


def always(data: bytes, *, close: bool = False) -> Answer:
    """The same bytes to every request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return answer


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return HEAD + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\nx-trailer: 1\r\n\r\n"


async def test_requests_follow_each_other_on_one_connection(kind: Kind) -> None:
    """A counted answer leaves the connection usable; the request is as the provider needs it."""
    async with provider(always(COUNTED + BODY)) as made, client(kind, made) as upstream:
        for _ in range(3):
            assert await ask(upstream, call(traceparent="00-1")) == (200, BODY)
        assert made.connections == 1
        head, body = made.requests[-1]
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        lines = head.lower().split(b"\r\n")
        assert b"host: 127.0.0.1:%d" % made.port in lines
        assert b"content-type: application/json" in lines
        assert b"authorization: bearer secret" in lines
        assert b"traceparent: 00-1" in lines
        assert body == b'{"model": "m"}'


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_chunked_answer_is_joined(kind: Kind, size: int) -> None:
    """Chunks of any size and a trailer give the body, and the connection is used again."""
    async with provider(always(chunked(BODY, size))) as made, client(kind, made) as upstream:
        assert await ask(upstream) == (200, BODY)
        assert await ask(upstream) == (200, BODY)
        assert made.connections == 1


async def test_an_answer_cut_anywhere_by_tcp_is_the_same(kind: Kind) -> None:
    """One byte at a time, head and body: nothing changes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        for byte in COUNTED + BODY:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    async with provider(answer) as made, client(kind, made) as upstream:
        assert await ask(upstream) == (200, BODY)


async def test_an_answer_without_length_ends_with_the_connection(kind: Kind) -> None:
    """HTTP/1.0's way is understood; the next request has a connection of its own."""
    data = HEAD + b"connection: close\r\n\r\n" + BODY
    async with provider(always(data, close=True)) as made, client(kind, made) as upstream:
        assert await ask(upstream) == (200, BODY)
        assert await ask(upstream) == (200, BODY)
        assert made.connections == 2


async def test_interim_answers_are_passed_over(kind: Kind) -> None:
    """100 and 103 come before the answer and are not it."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with provider(always(interim + COUNTED + BODY)) as made, client(kind, made) as upstream:
        assert await ask(upstream) == (200, BODY)
        assert await ask(upstream) == (200, BODY)
        assert made.connections == 1


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (b"gzip", gzip.compress(BODY)),
        (b"deflate", zlib.compress(BODY)),
        (b"deflate", zlib.compress(BODY)[2:-4]),
        (b"identity", BODY),
    ],
    ids=["gzip", "zlib", "bare-deflate", "identity"],
)
async def test_a_packed_answer_is_unpacked(kind: Kind, coding: bytes, packed: bytes) -> None:
    """Whatever was asked for, gzip and both kinds of deflate are understood."""
    head = HEAD + b"content-encoding: %b\r\ncontent-length: %d\r\n\r\n" % (coding, len(packed))
    async with provider(always(head + packed)) as made, client(kind, made) as upstream:
        assert await ask(upstream) == (200, BODY)


async def test_a_bomb_is_cut_off(kind: Kind) -> None:
    """A small answer that unpacks to more than 64 MiB is refused, not held in memory."""
    packed = gzip.compress(bytes(66 * 1024 * 1024), 1)
    head = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with provider(always(head + packed)) as made, client(kind, made) as upstream:
        with pytest.raises(UpstreamFailed, match="sent more than"):
            await ask(upstream)


@pytest.mark.parametrize(
    "data",
    [
        COUNTED + BODY[:-5],
        HEAD + b"transfer-encoding: chunked\r\n\r\nff\r\nabc",
        HEAD + b"content-encoding: gzip\r\ncontent-length: 9\r\n\r\nnot gzip!",
    ],
)
async def test_half_an_answer_is_broken_off(kind: Kind, data: bytes) -> None:
    """A body that ends too early, or cannot be unpacked, is an error of its own kind."""
    async with provider(always(data, close=True)) as made, client(kind, made) as upstream:
        with pytest.raises(BrokenOff):
            await ask(upstream)


@pytest.mark.parametrize(
    "data",
    [b"hello, this is no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, b"HTTP/1.1 2"],
)
async def test_what_is_no_answer_is_a_failure(kind: Kind, data: bytes) -> None:
    """Noise, an endless head and half a head come after the request was sent: perhaps billed."""
    async with provider(always(data, close=True)) as made, client(kind, made) as upstream:
        with pytest.raises(Unanswered):
            await ask(upstream)


async def test_a_redirect_is_refused(kind: Kind) -> None:
    """The request's text goes to the configured address and nowhere else."""
    moved = b"HTTP/1.1 307 T\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
    async with provider(always(moved)) as made, client(kind, made) as upstream:
        with pytest.raises(UpstreamFailed, match="redirect"):
            await ask(upstream)


async def test_nobody_there_is_a_failure(kind: Kind) -> None:
    """A refused connection is said to be one."""
    async with provider(always(b"")) as made:
        pass
    async with client(kind, made) as upstream:
        with pytest.raises(UpstreamFailed, match="could not be reached") as found:
            await ask(upstream)
        assert not isinstance(found.value, BrokenOff)


async def test_a_connection_closed_while_idle_is_replaced(kind: Kind) -> None:
    """The provider may close what waits; the next request does not notice."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(COUNTED + BODY)
        await writer.drain()
        writer.close()

    async with provider(answer) as made, client(kind, made) as upstream:
        for _ in range(3):
            assert await ask(upstream) == (200, BODY)
            await asyncio.sleep(0.02)
        assert made.connections == 3


async def test_a_connection_that_dies_under_a_request_is_replaced_once(kind: Kind) -> None:
    """Closed without a byte after the request went out: it is sent again on a new connection."""

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        if number == 1:
            writer.write(COUNTED + BODY)
            await writer.drain()
        else:
            writer.close()

    async with provider(answer) as made, client(kind, made) as upstream:
        assert await ask(upstream) == (200, BODY)
        assert await ask(upstream) == (200, BODY)
        assert (made.connections, len(made.requests)) == (2, 3)


async def test_silence_and_slowness_have_limits(kind: Kind) -> None:
    """No status, a body that stops, and one that drips without end: each ends as a time-out."""

    def stalls(data: bytes, every_s: float = 60) -> Answer:
        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int
        ) -> None:
            writer.write(data)
            for _ in range(100):
                await asyncio.sleep(every_s)
                writer.write(b"x")
                await writer.drain()

        return answer

    endless = HEAD + b"content-length: 100000\r\n\r\nx"
    for answer in (stalls(b""), stalls(endless), stalls(endless, 0.1)):
        async with provider(answer) as made, client(kind, made, SHORT) as upstream:
            began = asyncio.get_running_loop().time()
            with pytest.raises(UpstreamTimeout):
                await ask(upstream)
            assert asyncio.get_running_loop().time() - began < 3


async def test_leaving_closes_the_connection(kind: Kind) -> None:
    """A cancelled request and an answer that is not read to its end hold no connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        if made.connections == 1:
            await reader.read()  # says nothing, until the other side has gone
        writer.write(HEAD + b"content-length: 1000000\r\n\r\n" + BODY)
        await writer.drain()

    async with provider(answer) as made, client(kind, made) as upstream:
        waiting = asyncio.ensure_future(ask(upstream))
        while not made.requests:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(made.gone.wait(), 2)
        made.gone.clear()
        reply = await upstream.send(call())
        assert await anext(reply.chunks())
        await reply.close()
        await asyncio.wait_for(made.gone.wait(), 2)
        assert made.connections == 2


async def test_a_slow_reader_makes_the_provider_wait(kind: Kind) -> None:
    """Memory stays bounded: what is not read is not taken from the socket without end."""
    written = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        nonlocal written
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % (40 << 20))
        for _ in range(40):
            writer.write(bytes(1 << 20))
            await writer.drain()
            written += 1

    async with provider(answer) as made, client(kind, made) as upstream:
        reply = await upstream.send(call())
        await asyncio.sleep(0.3)
        assert written < 20
        assert len(await reply.read()) == 40 << 20
        await reply.close()
        assert await ask(upstream) == (200, bytes(40 << 20))
        assert made.connections == 1


async def test_many_requests_at_once_have_connections_of_their_own(kind: Kind) -> None:
    """No request waits for another's connection, and all are kept for the next round."""
    together = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        if len(made.requests) >= 20:
            together.set()
        await together.wait()
        writer.write(COUNTED + BODY)
        await writer.drain()

    async with provider(answer) as made, client(kind, made) as upstream:
        for _ in range(2):
            answers = await asyncio.gather(*(ask(upstream) for _ in range(20)))
            assert answers == [(200, BODY)] * 20
        assert made.connections == 20


async def test_a_header_cannot_smuggle_another(kind: Kind) -> None:
    """A line end in a forwarded header is refused before anything is sent."""
    async with provider(always(COUNTED + BODY)) as made, client(kind, made) as upstream:
        with pytest.raises(UpstreamFailed):
            await ask(upstream, call(traceparent="a\r\nx-evil: 1"))
        assert made.requests == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost that vouches for itself, with its key."""
    path = tmp_path / "cert.pem"
    path.write_text(CERTIFICATE, encoding="ascii")
    return path


async def test_tls_is_spoken_and_the_certificate_checked(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted certificate is taken and its connection reused; an unknown one is refused."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    async with provider(always(COUNTED + BODY), tls) as made:
        async with client(LeanUpstream, made, scheme="https") as upstream:
            with pytest.raises(UpstreamFailed, match="SSLCertVerificationError"):
                await ask(upstream)
        assert made.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with client(LeanUpstream, made, scheme="https") as upstream:
            assert await ask(upstream) == (200, BODY)
            assert await ask(upstream) == (200, BODY)
        assert len(made.requests) == 2


def test_plain_addresses_have_the_lean_client_and_proxies_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy from the environment, or a user name in the address, takes the full client."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    spec = UpstreamSpec("p", "openai", "https://x.example/v1", None, "p", "max_tokens", Timeouts())
    assert isinstance(client_of(spec), LeanUpstream)
    assert not suits("https://me:secret@x.example/v1")
    assert not suits("https://x.example/v1?api-version=1")
    assert not suits("https://bücher.example/v1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    assert isinstance(client_of(spec), DirectUpstream)


async def test_until_the_first_event_first_byte_counts_and_then_idle(kind: Kind) -> None:
    """A slow first token is waited for beyond `idle`; a later silence is not."""
    limits = Timeouts(connect=1, first_byte=2.0, idle=0.3, total=5.0)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await asyncio.sleep(0.4)
        writer.write(b": thinking\n\n")
        await asyncio.sleep(0.5)
        writer.write(b"data: 1\n\n")
        await asyncio.sleep(5)

    async with provider(answer) as made, client(kind, made, limits) as upstream:
        reply = await upstream.send(call())
        chunks = reply.chunks()
        assert await anext(chunks) == b": thinking\n\n"
        assert await anext(chunks) == b"data: 1\n\n"
        with pytest.raises(UpstreamTimeout, match=r"nothing for 0\.3 s"):
            await anext(chunks)
        await reply.close()


async def test_headers_alone_are_no_first_byte(kind: Kind) -> None:
    """A silence after the headers ends at `first_byte`, counted from the start of the call."""
    limits = Timeouts(connect=1, first_byte=0.5, idle=3.0, total=5.0)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await asyncio.sleep(5)

    async with provider(answer) as made, client(kind, made, limits) as upstream:
        began = asyncio.get_running_loop().time()
        reply = await upstream.send(call())
        with pytest.raises(UpstreamTimeout, match="first_byte"):
            await anext(reply.chunks())
        assert asyncio.get_running_loop().time() - began < 2
        await reply.close()
