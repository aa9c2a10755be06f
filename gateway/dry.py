"""What can be said without serving: explain a body, show a price."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from billing.accounts import VirtualKey
from billing.ladder import Brake
from billing.money import rate_text
from billing.price_layers import Rate
from billing.prices import PriceBook
from gateway.errors import InvalidRequest
from gateway.exchange import Caller, ClientHeaders, Exchange
from gateway.explain import explained
from gateway.kits import Kits
from gateway.prepare import Question, prepare
from gateway.settings import Settings
from gateway.snapshot import build_snapshot
from gateway.wire.registry import told


def explain_body(settings: Settings, raw: bytes, key_name: str | None) -> dict[str, Any]:
    """The same JSON as `/weir/explain`, for a body in a file.

    Raises:
        InvalidRequest: a bad body, or no such key; whatever a decision raises.
    """
    started = time.perf_counter()
    at_ms = time.time_ns() // 1_000_000
    snapshot = build_snapshot(settings)
    key = _key(settings, key_name)
    wire = told(raw)
    ex = Exchange("", at_ms, started, wire.name, ClientHeaders(), Caller(key, None))
    ex.request = wire.parse(raw, ex.headers)
    if snapshot.policy(key).mode == "observe":
        ex.arm = "observe"
    question = Question(ex.request, Caller(key, None), Brake(), {}, None, at_ms)
    model = ex.request.facts.requested_model
    ex.prepared = prepare(snapshot, question, Kits(settings).kit_for(snapshot, key.team, model))
    return explained(snapshot, ex, (time.perf_counter() - started) * 1000)


def _key(settings: Settings, name: str | None) -> VirtualKey:
    keys = {key.name: key for key in settings.accounts.keys.values()}
    if name is None and keys:
        return next(iter(keys.values()))
    if name is None or name not in keys:
        known = ", ".join(keys) or "none; `weir keys new NAME` makes one"
        raise InvalidRequest(f"no key {name!r} in the configuration; known: {known}")
    return keys[name]


def price_rows(settings: Settings | None, model: str, at: datetime) -> list[dict[str, str]]:
    """The rates in force for a declared model or ``provider/model``, one a component.

    ``usd_per_mtok`` is for a million units, be they tokens or calls; ``usd_per_call`` is there
    for calls. The rule says who set it.

    Raises:
        PriceMissing: the book does not know it.
    """
    if settings is not None and model in settings.models:
        snapshot = build_snapshot(settings)
        price = snapshot.price(model, int(at.timestamp() * 1000), None)
    else:
        provider, name = _named(PriceBook.bundled(), model)
        price = PriceBook.bundled().price(provider, name, at)
    return [
        {
            "component": component,
            "usd_per_mtok": rate_text(rate.base),
            **({} if _tokens(component) else {"usd_per_call": rate_text(rate.base / 1_000_000)}),
            "rule": f"{price.rule}#{rate.layer}{_steps(rate)}",
        }
        for component, rate in sorted(price.rates.items())
    ]


_MAKERS = ("openai", "anthropic", "google", "x-ai", "mistral", "deepseek")
"""Whose own price a bare name means; resellers have to be named."""


def _named(book: PriceBook, model: str) -> tuple[str, str]:
    """Provider and name of ``provider/model``, or of a bare name that one maker has.

    Raises:
        ValueError: a bare name that no maker has.
    """
    provider, slash, name = model.partition("/")
    if slash:
        return provider, name
    maker = next((maker for maker in _MAKERS if book.known(maker, model)), None)
    if maker is None:
        raise ValueError(
            f"no model {model!r} is declared or listed; write provider/model, such as "
            f"openai/gpt-6.1-sol"
        )
    return maker, model


def _tokens(component: str) -> bool:
    return component != "request" and not component.startswith("tool_call:")


def _steps(rate: Rate) -> str:
    return "".join(
        f"; {rate_text(step.rate)} {'from' if step.inclusive else 'above'} {step.start:,} tokens"
        for step in rate.steps
    )
