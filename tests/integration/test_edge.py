"""The server's edge: heads that are too large or never end, bodies that stop coming."""

from __future__ import annotations

import asyncio
import socket

import pytest
from processes import House

from gateway import admission
from gateway.admission import Admission, read_body
from gateway.errors import BodyTooSlow

START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


def told(house: House, *pieces: bytes) -> bytes:
    """What the gateway says to these bytes until it closes or waits."""
    port = int(house.gateway.url.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        found = b""
        try:
            for piece in pieces:
                sock.sendall(piece)
            while data := sock.recv(65536):
                found += data
        except (TimeoutError, ConnectionError):
            pass
        return found


@pytest.mark.parametrize("size", [70_000, 300_000, 5_000_000])
def test_a_head_that_is_too_large_is_a_431_and_the_end(house: House, size: int) -> None:
    """However much of it comes at once, the connection ends and nothing was served."""
    head = START + b"X-Big: " + b"a" * size + b"\r\nContent-Length: 2\r\n\r\n{}"
    answer = told(house, head)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


def test_a_head_that_never_ends_is_cut_off(house: House) -> None:
    """A header line after another adds up."""
    answer = told(house, START, *(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(200)))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


def test_a_head_of_common_size_and_a_large_body_pass(house: House) -> None:
    """The limit is the head's alone."""
    body = b'{"model":"x","messages":' + b" " * 200_000 + b"[]}"
    more = b"X-Some: " + b"a" * 30_000 + b"\r\nConnection: close\r\n"
    answer = told(house, START + more + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    assert answer.startswith(b"HTTP/1.1 401")


async def test_a_body_that_stops_coming_is_a_408(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first piece came, no other does."""
    monkeypatch.setattr(admission, "SLOW_S", 0.05)
    pieces = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> dict[str, object]:
        piece = next(pieces, None)
        if piece is None:
            await asyncio.Event().wait()
        return piece or {}

    with pytest.raises(BodyTooSlow):
        await read_body(receive, Admission(max_concurrent=1, max_body_bytes=100))
