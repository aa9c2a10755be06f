"""Which models a request can be served by at all: those whose upstream takes its wire.

What lies at one provider (a stored response, its files) is not at another: a request that
stores its answer there stays with the upstream that it asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import InvalidRequest
from gateway.exchange import ChatRequest
from gateway.settings import Settings
from gateway.wire.crossings import serves
from router.situation import ModelOption


def servable(
    settings: Settings, request: ChatRequest, options: Sequence[ModelOption]
) -> tuple[ModelOption, ...]:
    """The options that the request's wire reaches.

    Raises:
        InvalidRequest: the model it asks for is none of them.
    """
    wire, model = request.wire, request.facts.requested_model
    found = tuple(o for o in options if _reaches(settings, o.name, wire))
    if model in settings.models and not _reaches(settings, model, wire):
        raise InvalidRequest(
            f"model {model!r} is served by an upstream that does not take the {wire} wire",
            param="model",
        )
    if wire == "responses" and request.body.get("store") is not False and model in settings.models:
        home = settings.models[model].upstream
        found = tuple(o for o in found if settings.models[o.name].upstream == home)
    return found


def _reaches(settings: Settings, model: str, wire: str) -> bool:
    return serves(settings.upstreams[settings.models[model].upstream].kind, wire)
