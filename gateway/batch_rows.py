"""The rows of a batch: what each may cost before it is sent, and what became of it after.

A batch's input lies in one file, or one body, that goes to the provider byte for byte. So
nothing in it is rewritten or routed: a row names a model as its provider does, within what the
key may use, and bounds its completion where the policy does. What does not is refused before
anything is sent, with the row's number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from billing.accounts import VirtualKey
from billing.batches import Ceiling, digest
from billing.errors import PriceMissing
from billing.price import Price
from billing.prices import ACCOUNT, REGION, REGION_FIELD
from compressor.measure import measure
from gateway.errors import InvalidRequest, ModelNotAllowed
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.most import most
from gateway.prepare import permitted
from gateway.snapshot import Snapshot
from gateway.wire import body as bodies
from gateway.wire.registry import ROUTES, WIRES

MOST_ROWS = 100_000
_HEADERS = ClientHeaders()
_ID_CHARS = 512


@dataclass(frozen=True, slots=True)
class Terms:
    """Where, in which wire and when a batch is asked for."""

    upstream: str
    wire: str
    at_ms: int


@dataclass(slots=True)
class Rows:
    """The rows of one batch as they are read: each one's ceiling, by its id's digest.

    ``max_output`` is what policy allows of completion tokens, None: what the model can.
    """

    snapshot: Snapshot
    terms: Terms
    key: VirtualKey
    max_output: int | None = None
    costs: dict[str, Ceiling] = field(default_factory=dict)
    _prices: dict[tuple[str, str | None], Price] = field(default_factory=dict)

    @property
    def most_nano(self) -> int:
        """The most that all of them can cost."""
        return sum(ceiling.amount_nano for ceiling in self.costs.values())

    def take_lines(self, lines: Iterable[bytes]) -> None:
        """OpenAI's rows: one JSON object a line.

        Raises:
            InvalidRequest, ModelNotAllowed, PriceMissing: naming the row.
        """
        for line in lines:
            where = f"row {len(self.costs) + 1} of the input file"
            row = _object(line, where)
            url = row.get("url")
            if not isinstance(url, str) or ROUTES.get(url) is not WIRES[self.terms.wire]:
                raise InvalidRequest(
                    f"{where} asks for {str(url)[:64]!r}, the batch for "
                    f"{WIRES[self.terms.wire].route!r}; they must be the same",
                    param="url",
                )
            self._take(row.get("custom_id"), row.get("body"), where)

    def take_requests(self, requests: object) -> None:
        """Anthropic's rows: ``custom_id`` and ``params``. Raises as ``take_lines``."""
        if not isinstance(requests, list) or not requests:
            raise InvalidRequest("'requests' must be a non-empty array", param="requests")
        for number, row in enumerate(requests):
            where = f"requests[{number}]"
            if not isinstance(row, Mapping):
                raise InvalidRequest(f"{where} is no object", param=where)
            self._take(row.get("custom_id"), row.get("params"), where)

    def _take(self, custom_id: object, body: object, where: str) -> None:
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _ID_CHARS:
            raise InvalidRequest(f"{where} has no custom_id", param="custom_id")
        name = digest(custom_id)
        if name in self.costs:
            raise InvalidRequest(f"{where} repeats a custom_id", param="custom_id")
        if len(self.costs) >= MOST_ROWS:
            raise InvalidRequest(f"a batch has at most {MOST_ROWS:,} rows")
        if not isinstance(body, Mapping):
            raise InvalidRequest(f"{where} has no body", param="body")
        try:
            request = WIRES[self.terms.wire].parse(orjson.dumps(body), _HEADERS)
            self.costs[name] = self._ceiling(request, where)
        except InvalidRequest as error:
            said = str(error) if where in str(error) else f"{where}: {error}"
            raise InvalidRequest(said, param=error.param, code=error.code) from None

    def _ceiling(self, request: ChatRequest, where: str) -> Ceiling:
        terms = self.terms
        model = self._declared(request.facts.requested_model, where)
        if request.stream:
            raise InvalidRequest(f"{where} asks for a stream; a batch has none", param="stream")
        region = self.key.region
        told = self.snapshot.settings.upstreams[terms.upstream].told_region
        if told and region is not None and request.body.get(REGION_FIELD) != region.lower():
            raise InvalidRequest(
                f"{where} must say {REGION_FIELD}: {region.lower()!r}, the region of this key",
                param=REGION_FIELD,
            )
        card = self.snapshot.cards[model]
        output = 0
        if request.facts.choices:
            output = self._output(request, min(card.max_output, card.window), where)
        gauge = self.snapshot.gauge(model)
        size = measure(request.conversation, gauge.counter, gauge.media)
        prompt = size.prompt_tokens
        if request.hidden:
            prompt = max(prompt, card.window)
        price = self._price(model, region_of(request.body.get(REGION_FIELD)))
        exact = size.exact and card.exact
        return Ceiling(model, most(price, prompt, output, exact=exact))

    def _output(self, request: ChatRequest, longest: int, where: str) -> int:
        """Completion tokens at most, of all choices."""
        asked, limit = request.facts.max_output_tokens, self.max_output
        if limit is not None and (asked is None or asked > limit):
            names = WIRES[self.terms.wire].limits
            raise InvalidRequest(
                f"{where} may ask for {limit:,} completion tokens at most and must say so; set "
                f"{names[0] if names else 'its limit'}",
                param=names[0] if names else None,
            )
        return (longest if asked is None else asked) * request.facts.choices

    def _declared(self, name: str, where: str) -> str:
        """The declared model whose provider knows it by this name."""
        settings, terms = self.snapshot.settings, self.terms
        here = {n: e for n, e in settings.models.items() if e.upstream == terms.upstream}
        known = [n for n, e in here.items() if (e.model or n) == name]
        allowed = [n for n in known if permitted(self.snapshot, self.key, n)]
        if allowed:
            return allowed[0]
        if known:
            raise ModelNotAllowed(f"{where}: this key may not use model {name[:64]!r}")
        if name in here:
            raise InvalidRequest(
                f"{where} names {name[:64]!r}, which its provider calls {here[name].model!r}; a "
                f"batch goes out byte for byte, so write the provider's name",
                param="model",
            )
        raise InvalidRequest(
            f"{where}: model {name[:64]!r} is not declared for upstream {terms.upstream!r}",
            param="model",
        )

    def _price(self, model: str, region: str | None) -> Price:
        found = self._prices.get((model, region))
        if found is None:
            found = batch_price(self.snapshot, (model, None), self.terms, region)
            self._prices[model, region] = found
        return found


def region_of(said: object) -> str | None:
    """The region that a row or its report names."""
    return said if isinstance(said, str) and said else None


def batch_price(
    snapshot: Snapshot, served: tuple[str, str | None], terms: Terms, region: str | None
) -> Price:
    """What a declared model costs in a batch; with the name that it answered by, or None.

    Raises:
        PriceMissing: the book has no batch price for it.
    """
    model, own = served
    entry = snapshot.settings.models[model]
    at = datetime.fromtimestamp(terms.at_ms / 1000, UTC)
    context = {ACCOUNT: terms.upstream}
    if region is not None:
        context[REGION] = region
    asked = entry.model or model
    names = [own] if own and own != asked and entry.price is None and not entry.free else []
    for name in (*names, asked):
        try:
            found = snapshot.prices.price(
                snapshot.provider(model), name, at, batch=True, context=context
            )
        except PriceMissing:
            if name == asked:
                raise
        else:
            if name == asked or not found.unpriced:
                return found
    raise PriceMissing(snapshot.provider(model), asked)


@dataclass(frozen=True, slots=True)
class RowEnd:
    """What became of a row: its status (0: it was never served), what was metered, by whom."""

    custom_id: str
    status: int
    usage: object = None
    model: str | None = None
    provider_id: str | None = None
    outcome: str = "ok"


def ended(line: bytes) -> RowEnd | None:
    """One line of a provider's output, OpenAI's or Anthropic's; None where it is neither."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
        return None
    result = row.get("result")
    return _anthropic(row, result) if isinstance(result, dict) else _openai(row)


def _openai(row: Mapping[str, Any]) -> RowEnd:
    response = row.get("response")
    if not isinstance(response, Mapping):
        return RowEnd(row["custom_id"], 0, outcome="cancelled")
    status, body = response.get("status_code"), response.get("body")
    code = status if isinstance(status, int) and 0 <= status < 600 else 0
    said = body if isinstance(body, Mapping) else {}
    outcome = "ok" if code == 200 else "refused"
    made, named = _text(said.get("model")), _text(said.get("id"))
    return RowEnd(row["custom_id"], code, said.get("usage"), made, named, outcome)


def _anthropic(row: Mapping[str, Any], result: Mapping[str, Any]) -> RowEnd:
    if result.get("type") == "succeeded":
        message = result.get("message")
        said = message if isinstance(message, Mapping) else {}
        made, named = _text(said.get("model")), _text(said.get("id"))
        return RowEnd(row["custom_id"], 200, said.get("usage"), made, named)
    if result.get("type") == "errored":
        return RowEnd(row["custom_id"], 400, outcome="refused")
    return RowEnd(row["custom_id"], 0, outcome="cancelled")


def _text(value: object) -> str | None:
    return value[:256] if isinstance(value, str) and value else None


def _object(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise InvalidRequest(f"{where} is not one JSON object", code="invalid_json")
    if not bodies.spliceable(line):  # two readers could take another model from it
        bodies.check_every_object(line)
    return row
