"""Idempotency-Key: one request, one bill, one answer, however often it is sent.

For 24 hours and within one virtual key, the same key with the same body gets the first
result again (status, headers, body; a stream as its stored text) and posts nothing. A twin
of a request in flight is told to wait (409), another body under the same key is refused
(422). What cost nothing is not kept: its retry is tried anew.

A request with a key runs to its end even if its client leaves, so that the client's retry
finds the answer. Results lie in memory, within a bound, and in the ledger's database,
encrypted with a key that only the client's own secret gives. A result that a killed process
took with it is not made again (its cost was charged): 409, naming the receipt.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from billing.desk import Desk
from billing.errors import LedgerUnavailable
from billing.kept import Claim, Kept, Row
from gateway.errors import (
    IdempotencyBusy,
    IdempotencyGone,
    IdempotencyReused,
    Rendered,
    render,
)
from gateway.exchange import Exchange
from gateway.relay import Send, send_plain

LIFETIME_MS = 24 * 3_600_000
STALE_MS = 15 * 60_000
"""A claim without a result that is older belongs to nobody: no request runs so long."""
MEMORY_BYTES = 32 << 20
KEEP_BYTES = 8 << 20
"""A longer answer is not kept: its repeat is refused, naming the receipt."""
PURGE_S = 3600.0
_PURPOSE = b"tokenweir idempotent reply v1"
_NONCE_BYTES = 12
_NOT_KEPT = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})

Work = Callable[[Send], Awaitable[None]]


@dataclass(slots=True)
class Reply:
    """A result as it can be sent again."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def send_again(self, send: Send) -> None:
        """The same status, headers and body."""
        headers = [*self.headers, (b"x-weir-replayed", b"true")]
        await send_plain(send, self.status, headers, self.body)


class Recorder:
    """An ASGI send that notes what goes through, up to a size.

    The last message waits for ``let_go``: who has a whole answer finds it kept.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._pieces: list[bytes] = []
        self._size = 0
        self.reply = Reply()
        self._last: MutableMapping[str, Any] | None = None
        self.too_long = False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Note one message and pass it on, or hold it back where it is the last."""
        if message["type"] == "http.response.start":
            headers = [pair for pair in message["headers"] if pair[0].lower() not in _NOT_KEPT]
            self.reply = Reply(message["status"], headers)
        elif message["type"] == "http.response.body":
            self._note(message.get("body", b""))
            if not message.get("more_body", False):
                self._last = message
                return
        await self._send(message)

    async def let_go(self) -> None:
        """The last message goes out."""
        if self._last is not None:
            await self._send(self._last)

    def _note(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > KEEP_BYTES:
            self.too_long = True
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)

    def finished(self) -> Reply | None:
        """The whole answer; None where it was cut off or is too long to keep."""
        if self._last is None or self.too_long:
            return None
        self.reply.body = b"".join(self._pieces)
        return self.reply

    def failed(self, rendered: Rendered) -> Reply:
        """The answer of a request that failed before it had one."""
        headers = [pair for pair in rendered.headers if pair[0].lower() not in _NOT_KEPT]
        return Reply(rendered.status, headers, rendered.body)


class Replies:
    """The process's memory of idempotency keys, over the table all processes share."""

    def __init__(self, desk: Desk, clock: Callable[[], int], process: str | None = None) -> None:
        self._kept = Kept(desk)
        self._clock = clock
        self._process = process or f"{socket.gethostname()}:{os.getpid()}:{os.urandom(6).hex()}"
        self._running: dict[tuple[str, str], bytes] = {}
        self._memory: OrderedDict[tuple[str, str], tuple[bytes, int, Reply]] = OrderedDict()
        self._bytes = 0

    async def once(self, ex: Exchange, raw: bytes, send: Send, work: Work) -> None:
        """Do ``work`` and keep its result, or send the result that is there.

        Raises:
            IdempotencyBusy: a twin is in flight. IdempotencyReused: another body.
            IdempotencyGone: the result was lost, or is too long to keep.
            LedgerUnavailable: the key cannot be claimed; whatever ``work`` raises.
        """
        claim = self._claim_of(ex, raw)
        spot = (claim.owner, claim.name)
        if spot in self._running:
            raise _twin(claim, self._running[spot])
        found = self._remembered(spot, claim)
        if found is not None:
            await found.send_again(send)
            return
        self._running[spot] = claim.body_hash
        try:
            row = await asyncio.to_thread(self._kept.claim, claim)
            if row is None:
                await self._run(claim, ex, send, work)
            else:
                await (await self._replayed(claim, row, ex.headers.secret or "")).send_again(send)
        finally:
            del self._running[spot]

    async def run(self) -> None:
        """Expired results are thrown away, for ever."""
        while True:
            with contextlib.suppress(LedgerUnavailable):  # the next round will find them
                await asyncio.to_thread(self._kept.purge, self._clock())
            await asyncio.sleep(PURGE_S)

    def _claim_of(self, ex: Exchange, raw: bytes) -> Claim:
        if ex.caller is None or ex.headers.idempotency_key is None:
            raise RuntimeError("a request without a key of both kinds cannot be repeated")
        digest = hashlib.sha256(ex.wire.encode() + b"\0" + raw).digest()
        return Claim(
            owner=ex.caller.key.sha256,
            name=ex.headers.idempotency_key,
            body_hash=digest,
            request_id=ex.request_id,
            process=self._process,
            at_ms=ex.at_ms,
            expires_ms=ex.at_ms + LIFETIME_MS,
        )

    async def _run(self, claim: Claim, ex: Exchange, send: Send, work: Work) -> None:
        recorder = Recorder(send)
        reply: Reply | None = None
        try:
            await work(recorder)
            reply = recorder.finished()
        except Exception as error:
            if recorder.reply.status == 0:
                reply = recorder.failed(render(error, ex.wire, ex.request_id))
            raise
        finally:
            await asyncio.shield(self._ended(claim, ex, reply))
            await recorder.let_go()

    async def _ended(self, claim: Claim, ex: Exchange, reply: Reply | None) -> None:
        """What was answered well or billed is kept; the rest may be tried again."""
        receipt = ex.settled
        if receipt is None or (receipt.status != 200 and not receipt.cost_nano):
            await asyncio.to_thread(self._kept.give_up, claim)
            return
        if reply is not None:
            self._remember(claim, reply)
        secret = ex.headers.secret or ""
        await asyncio.to_thread(self._keep, claim, receipt.status, reply, secret)

    def _keep(self, claim: Claim, status: int, reply: Reply | None, secret: str) -> None:
        sealed = seal(reply, secret, claim) if reply is not None else None
        self._kept.keep(claim, status, sealed)

    def _remember(self, claim: Claim, reply: Reply) -> None:
        size = len(reply.body)
        if size > MEMORY_BYTES // 32:
            return  # the database has it
        self._memory[claim.owner, claim.name] = (claim.body_hash, claim.expires_ms, reply)
        self._bytes += size
        while self._bytes > MEMORY_BYTES:
            self._bytes -= len(self._memory.popitem(last=False)[1][2].body)

    def _remembered(self, spot: tuple[str, str], claim: Claim) -> Reply | None:
        found = self._memory.get(spot)
        if found is None:
            return None
        body_hash, expires_ms, reply = found
        if expires_ms <= claim.at_ms:
            del self._memory[spot]
            self._bytes -= len(reply.body)
            return None
        if body_hash != claim.body_hash:
            raise _reused(claim)
        return reply

    async def _replayed(self, claim: Claim, row: Row, secret: str) -> Reply:
        """The result that stands in the table. Raises what ``once`` raises."""
        if bytes(row.body_hash) != claim.body_hash:
            raise _reused(claim)
        if row.status is None:
            if claim.at_ms - row.at_ms > STALE_MS or self._dead(row.process):
                raise IdempotencyGone(
                    f"the gateway was stopped while request {row.request_id} with this "
                    f"Idempotency-Key ran; it was charged at what it could cost, see GET "
                    f"/weir/receipts/{row.request_id}. Use another key to ask again"
                )
            raise _twin(claim, claim.body_hash)
        if row.sealed is None:
            raise IdempotencyGone(
                f"request {row.request_id} with this Idempotency-Key was answered, but its answer "
                f"was cut off or too long to keep; see GET /weir/receipts/{row.request_id}. Use "
                f"another key to ask again"
            )
        return await asyncio.to_thread(unseal, bytes(row.sealed), secret, claim, row.status)

    def _dead(self, process: str) -> bool:
        """Whether a process of this machine is no more; of other machines nobody knows."""
        host, pid, _ = process.rsplit(":", 2)
        if process == self._process or host != socket.gethostname():
            return False
        if int(pid) == os.getpid():
            return True  # this number is ours now
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, so it lives
            return False
        return False


def _twin(claim: Claim, running: bytes) -> IdempotencyBusy | IdempotencyReused:
    if running != claim.body_hash:
        return _reused(claim)
    return IdempotencyBusy(
        "a request with this Idempotency-Key is in flight; its answer will be here under the same "
        "key"
    )


def _reused(claim: Claim) -> IdempotencyReused:
    return IdempotencyReused(
        f"Idempotency-Key {claim.name[:64]!r} was used for another body in the last 24 hours; "
        f"use a new key for a new request"
    )


def _cipher(secret: str, owner: str):  # type: ignore[no-untyped-def]  # the library's class, imported late
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(SHA256(), 32, salt=owner.encode(), info=_PURPOSE).derive(secret.encode())
    return AESGCM(key)


def seal(reply: Reply, secret: str, claim: Claim) -> bytes:
    """A reply as only the client's own secret opens it."""
    headers = [[k.decode("latin-1"), v.decode("latin-1")] for k, v in reply.headers]
    head = orjson.dumps([reply.status, headers])
    plain = zlib.compress(len(head).to_bytes(4, "big") + head + reply.body, 1)
    nonce = os.urandom(_NONCE_BYTES)
    sealed: bytes = _cipher(secret, claim.owner).encrypt(nonce, plain, claim.name.encode())
    return nonce + sealed


def unseal(sealed: bytes, secret: str, claim: Claim, status: int) -> Reply:
    """What ``seal`` was given. Raises IdempotencyGone: it was changed, or is another's."""
    from cryptography.exceptions import InvalidTag

    try:
        plain = zlib.decompress(
            _cipher(secret, claim.owner).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], claim.name.encode()
            )
        )
    except (InvalidTag, ValueError, zlib.error):
        raise IdempotencyGone(
            f"the kept answer (status {status}) cannot be read; use another Idempotency-Key"
        ) from None
    length = int.from_bytes(plain[:4], "big")
    found, headers = orjson.loads(plain[4 : 4 + length])
    pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers]
    return Reply(found, pairs, plain[4 + length :])
