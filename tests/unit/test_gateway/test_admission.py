"""Who may come in: judged by headers first, by bytes while they are read."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import Admission, Receive, read_body
from gateway.errors import (
    BodyTooLarge,
    ClientGone,
    Draining,
    EncodingUnsupported,
    Overloaded,
)
from gateway.exchange import ClientHeaders


def sending(*pieces: bytes, leave: bool = False) -> Receive:
    """An ASGI receive that gives these pieces."""
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": leave or n < len(pieces) - 1}
        for n, piece in enumerate(pieces)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop(0)

    return receive


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=8))
async def test_a_body_is_read_whole_or_refused_by_its_size(pieces: list[bytes]) -> None:
    """However it is cut, a body within the limit comes whole and a longer one is refused."""
    admission = Admission(max_concurrent=1, max_body_bytes=12)
    whole = b"".join(pieces)
    if len(whole) <= 12:
        assert await read_body(sending(*pieces), admission) == whole
    else:
        with pytest.raises(BodyTooLarge, match="max_body_mb"):
            await read_body(sending(*pieces), admission)


async def test_a_client_that_leaves_while_sending_is_gone() -> None:
    """A disconnect before the last piece ends the read at once."""
    admission = Admission(max_concurrent=1, max_body_bytes=100)
    with pytest.raises(ClientGone):
        await read_body(sending(), admission)
    with pytest.raises(ClientGone):
        await read_body(sending(b"abc", leave=True), admission)


def test_the_door_counts_who_is_inside() -> None:
    """Over the limit a request is told when to come again, and leaving makes room."""
    admission = Admission(max_concurrent=2, max_body_bytes=100)
    admission.enter(ClientHeaders())
    admission.enter(ClientHeaders())
    with pytest.raises(Overloaded, match="max_concurrent") as caught:
        admission.enter(ClientHeaders())
    assert caught.value.retry_after_s > 0
    admission.leave()
    admission.enter(ClientHeaders())
    assert (admission.inside, admission.refused) == (2, 1)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (ClientHeaders(content_length=101), BodyTooLarge),
        (ClientHeaders(content_encoding="gzip"), EncodingUnsupported),
        (ClientHeaders(content_encoding="br"), EncodingUnsupported),
    ],
)
def test_headers_alone_can_refuse_and_leave_nobody_inside(
    headers: ClientHeaders, error: type[Exception]
) -> None:
    """A length over the limit or an encoding is refused before the body is read."""
    admission = Admission(max_concurrent=1, max_body_bytes=100)
    with pytest.raises(error):
        admission.enter(headers)
    assert admission.inside == 0


def test_a_closing_door_lets_nobody_in() -> None:
    """While draining every new request is told to try again."""
    admission = Admission(max_concurrent=9, max_body_bytes=100, draining=True)
    with pytest.raises(Draining, match="shutting down"):
        admission.enter(ClientHeaders(content_length=5, content_encoding="identity"))
