"""The receipts of a batch that has ended: one for each row, at batch prices.

The first of them bears the request's own id and closes its hold, so it is written last; the
others bear that id and the number of their row. The ids are the same however often it is tried,
so nothing is posted twice. What a provider served without saying what it metered is charged at
that row's ceiling; what it never served costs nothing and has no receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from billing.batches import Ceiling, StoredBatch, digest
from billing.errors import PriceMissing, UsageInvalid
from billing.ledger import Hold, Ledger
from billing.prices import REGION_FIELD
from billing.receipt import Attempt, Line, Receipt, held_line
from billing.recovery import orphan
from billing.usage import Usage
from gateway.batch_rows import RowEnd, Terms, batch_price, region_of
from gateway.snapshot import Snapshot
from gateway.wire.registry import WIRES

_SILENT = RowEnd("", 200)


class BatchBill:
    """The receipts of one batch that has ended."""

    def __init__(self, snapshot: Snapshot, batch: StoredBatch) -> None:
        self._snapshot, self._batch = snapshot, batch
        self._terms = Terms(batch.upstream, batch.wire, batch.at_ms)
        self._numbers = {name: number for number, name in enumerate(batch.costs)}

    def receipts(self, ends: Iterable[RowEnd], served: int | None) -> Iterator[Receipt]:
        """One for each row that was served or refused; none at all where no row was.

        Args:
            ends: what the provider's output says of rows.
            served: how many rows it says it served, where it says so: those that its output
                lacks are charged at their ceilings.
        """
        found: dict[str, RowEnd] = {}
        for end in ends:
            name = digest(end.custom_id)
            if name in self._numbers:  # else it is not ours
                found.setdefault(name, end)
        short = (served or 0) - sum(end.status == 200 for end in found.values())
        silent = [name for name in self._numbers if name not in found]
        found |= dict.fromkeys(silent[: max(0, short)], _SILENT)
        told = sorted((name for name in found if found[name].status), key=self._numbers.__getitem__)
        for name in told[1:]:
            yield self._receipt(name, found[name])
        for name in told[:1]:
            yield self._receipt(name, found[name], closing=True)

    def _receipt(self, name: str, end: RowEnd, *, closing: bool = False) -> Receipt:
        number, ceiling = self._numbers[name], self._batch.costs[name]
        hold = self._batch.hold
        row_id = hold.request_id if closing else f"{hold.request_id}-{number + 1:06d}"
        usage, lines, source = self._metered(row_id, end, ceiling)
        cost = sum(line.amount_nano for line in lines)
        said: dict[str, object] = {"code": "batch", "batch": self._batch.id, "row": number + 1}
        if end.custom_id:
            said["custom_id"] = end.custom_id[:128]
        attempt = Attempt(
            id=row_id,
            model=ceiling.model,
            upstream=self._batch.upstream,
            status=end.status,
            outcome=end.outcome,
            ttft_ms=None,
            duration_ms=0.0,
            provider_id=end.provider_id,
            usage=usage.raw,
            state=_state(end, source),
        )
        entry = self._snapshot.settings.models.get(ceiling.model)
        empty = orphan(hold, 0, hold.at_ms, "batch")
        return _filled(
            empty,
            usage,
            {
                "request_id": row_id,
                "session": hold.session or self._batch.id,
                "requested_model": ceiling.model,
                "served_model": ceiling.model,
                "tier": entry.tier.value if entry is not None else "",
                "reasons": (said,),
                "cost_nano": cost,
                "baseline_nano": cost,
                "baseline_model": ceiling.model,
                "waste_nano": 0 if end.status == 200 else cost,
                "usage_source": source,
                "lines": lines,
                "attempts": (attempt,),
                "status": end.status,
                "policy_hash": self._snapshot.settings.hash,
                "prices_hash": self._snapshot.prices.hash,
                "catalog_hash": self._snapshot.catalog_hash,
                "state": "settled",
                **dict.fromkeys(_CAUSES, 0),
            },
        )

    def _metered(
        self, row_id: str, end: RowEnd, ceiling: Ceiling
    ) -> tuple[Usage, tuple[Line, ...], str]:
        """What a row used and its lines; a row that was served is never free."""
        nothing = Usage(source="none")
        if end.status != 200 and not isinstance(end.usage, Mapping):
            return nothing, (), "none"
        book = self._snapshot.prices.hash
        try:
            raw: Mapping[str, Any] = end.usage if isinstance(end.usage, Mapping) else {}
            usage = WIRES[self._batch.wire].usage(raw)
            if not usage.billed_tokens:
                raise UsageInvalid("a report of nothing at all")
            region = region_of(raw.get(REGION_FIELD))
            served = (ceiling.model, end.model)
            price = batch_price(self._snapshot, served, self._terms, region)
            return usage, price.lines(usage, row_id), usage.source
        except UsageInvalid:
            line = held_line(row_id, ceiling.amount_nano, book, "provisional")
        except (PriceMissing, KeyError) as missing:  # the model may be declared no more
            rule = str(missing) if isinstance(missing, PriceMissing) else "provisional"
            line = held_line(row_id, ceiling.amount_nano, book, rule)
        return nothing, (line,) if ceiling.amount_nano else (), "estimated"


_CAUSES = ("saved_trim_nano", "saved_model_nano", "saved_cache_nano", "saved_retries_nano")


def _state(end: RowEnd, source: str) -> str:
    if source == "estimated":
        return "provisional"
    return "settled" if source != "none" else "void"


def _filled(empty: Receipt, usage: Usage, said: Mapping[str, Any]) -> Receipt:
    """A receipt with what was metered, and all that is known beside it."""
    delivered = usage.completion_tokens - usage.reasoning_tokens
    return replace(
        empty,
        original_prompt_tokens=usage.prompt_tokens,
        sent_prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cache_read_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        effective_tokens=usage.prompt_tokens + delivered,
        billed_tokens=usage.billed_tokens,
        **said,
    )


def post(ledger: Ledger, batch: StoredBatch, receipts: Iterable[Receipt]) -> int:
    """Every receipt is in the ledger; what they cost, nano-USD.

    Raises:
        LedgerUnavailable: some are; doing it again posts the rest.
    """
    cost = 0
    for receipt in receipts:
        ledger.settle(Hold(receipt.request_id, 0, batch.at_ms), receipt)
        cost += receipt.cost_nano
    return cost
