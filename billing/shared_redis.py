"""Claims in a Redis-compatible server, for several machines: one Lua script, exact sums.

The server may forget everything. A process that finds itself unknown says its claims again,
and base is derived anew once every process had the time to do so; until then nothing new is
claimed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from billing.bundled import bundled_text
from billing.errors import LedgerUnavailable
from billing.schema import hidden
from billing.shared import Answer, Ask, Base, Member, Others

PREFIX = "{weir}"
"""All keys begin so; in braces, so that a cluster keeps them together."""
RIPE_S = 2.0
"""An empty server is left alone for so long: processes that had claims say them first."""
_LAST_MS = (1 << 53) - 1
_TIMEOUT_S = 1.0


class RedisShares:
    """Claims in a Redis-compatible server. Safe to use from any thread."""

    def __init__(self, url: str) -> None:
        self._where = hidden(url)
        self._client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        self._script = self._client.register_script(bundled_text("claims.lua").decode())
        try:
            self._ripen()
        except redis.RedisError as error:
            self._client.close()
            raise self._failed(error) from error

    def _ripen(self) -> None:
        """The server has been in use for long enough to know every process."""
        now = time.time_ns() / 1e9
        key = f"{PREFIX}:born"
        self._client.set(key, int(now * 1000), nx=True)
        born: Any = self._client.get(key)
        time.sleep(max(0.0, min(float(born) / 1000 + RIPE_S - now, RIPE_S)))

    def join(self, member: str, ledger: str, at_ms: int) -> None:
        """The store knows this process."""
        self._do("join", {"member": member, "ledger": ledger, "at": str(at_ms)})

    def members(self) -> dict[str, Member]:
        """Every process the store knows."""
        try:
            with self._client.pipeline() as pipe:
                pipe.hgetall(f"{PREFIX}:members")
                pipe.hgetall(f"{PREFIX}:seen")
                ledgers, seen = pipe.execute()
        except redis.RedisError as error:
            raise self._failed(error) from error
        return {name: Member(ledger, int(seen.get(name, 0))) for name, ledger in ledgers.items()}

    def claim(self, member: str, asks: Sequence[Ask], at_ms: int) -> Answer:
        """Every claim is raised to what is needed and a slice more, or none is."""
        return self._ask("claim", member, asks, at_ms)

    def report(
        self, member: str, asks: Sequence[Ask], at_ms: int, *, joining: bool = False
    ) -> Answer:
        """Every claim is exactly what is needed, whatever the limit; 0 removes it."""
        return self._ask("report", member, asks, at_ms, joining=joining)

    def covered(self, ledger: str) -> set[str]:
        """The budgets whose base is known for a ledger."""
        try:
            found: Any = self._client.smembers(f"{PREFIX}:covered:{ledger}")
        except redis.RedisError as error:
            raise self._failed(error) from error
        return set(found)

    def derive(
        self, ledger: str, names: Iterable[str], base: Sequence[Base], alive: frozenset[str]
    ) -> bool:
        """The ledger's base of these budgets is this, unless its processes have changed."""
        return (
            self._do(
                "derive",
                {
                    "ledger": ledger,
                    "names": sorted(names),
                    "base": [_row(row) for row in base],
                    "alive": sorted(alive),
                    "at": str(time.time_ns() // 1_000_000),
                },
            )
            == "1"
        )

    def fold(self, member: str, base: Sequence[Base]) -> bool:
        """A process is gone: its claims are this base; False where it was gone already."""
        return self._do("fold", {"member": member, "base": [_row(row) for row in base]}) == "1"

    def close(self) -> None:
        """The connections are closed."""
        self._client.close()

    def _ask(
        self, verb: str, member: str, asks: Sequence[Ask], at_ms: int, *, joining: bool = False
    ) -> Answer:
        said = {
            "member": member,
            "at": str(at_ms),
            "asks": [_ask_row(ask) for ask in asks],
            "joining": joining,
        }
        found = orjson.loads(self._do(verb, said))
        if not found["known"]:
            return Answer(None, (), known=False)
        rows = found["rows"] or []
        others = tuple(Others(int(c), int(s), int(h), w == "1") for c, s, h, w, _ in rows)
        return Answer(tuple(int(row[4]) for row in rows) if found["fits"] else None, others)

    def _do(self, verb: str, said: Mapping[str, object]) -> str:
        try:
            return str(self._script(keys=[PREFIX], args=[verb, orjson.dumps(said)]))
        except redis.RedisError as error:
            raise self._failed(error) from error

    def _failed(self, error: redis.RedisError) -> LedgerUnavailable:
        return LedgerUnavailable(f"shared state at {self._where} does not answer: {error}")


def _ask_row(ask: Ask) -> dict[str, str]:
    slot = ask.slot
    return {
        "budget": slot.budget,
        "start": str(slot.start_ms),
        "since": str(slot.since_ms),
        "last": str(min(slot.last_ms, _LAST_MS)),
        "limit": str(ask.limit_nano),
        "need": str(ask.need_nano),
        "spent": str(ask.spent_nano),
        "held": str(ask.held_nano),
    }


def _row(row: Base) -> dict[str, str]:
    amount = str(max(row.amount_nano, 0))
    return {"budget": row.budget, "bucket": str(row.bucket_ms), "amount": amount}
