"""What pictures and sound cost: by what the price book has a rate for.

By the picture (``image``), the character (``character``; of a speech model with nothing but an
``input`` rate, that), the second of sound (``second``), else by the tokens that the provider
reports. Where it reports none and nothing else tells, the hold stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from billing.errors import PriceMissing
from billing.money import half_even, rate_ratio, rate_text
from billing.price import Price
from billing.receipt import Line
from gateway.media_body import Asked
from gateway.sound import at_most, seconds

Part = tuple[str, str, int]
"""A component as it stands on the receipt, the rate it is charged at, and how many."""
_SIZE = re.compile(r"(\d{2,5})x(\d{2,5})")
_PIXELS_A_TOKEN = 250
_LARGEST_TOKENS = 6_300
"""A picture of 1024x1536 at the highest quality has 6,240."""
_PARTIAL_TOKENS = 100
_PICTURE_IN_TOKENS = 8_000
_SOUND_TOKENS_S = 21
_LETTERS_S = 8
"""Slow speech; most of it is twice as fast."""
_SLACK, _MORE_TOKENS = 1.25, 64


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer told: its usage, how many pictures it has, how long its sound is."""

    usage: Mapping[str, Any] | None = None
    pictures: int = 0
    seconds: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of request is bounded before it is sent, and billed after."""

    most: Callable[[Price, Asked, Count], list[Part]]
    parts: Callable[[Price, Asked, Told, Count], tuple[list[Part], bool] | None]


Count = Callable[[str], int]
"""Tokens of a text."""


def lines(price: Price, parts: list[Part], attempt: str) -> tuple[Line, ...]:
    """A line for each component, rounded once. Raises PriceMissing."""
    found = []
    for component, name, quantity in parts:
        if quantity:
            rate = price.rate(name, 0)
            numerator, denominator = rate_ratio(rate)
            cost = half_even(quantity * numerator, denominator)
            rule = f"{price.rule}#{name}"
            line = Line(attempt, component, quantity, rate_text(rate), cost, price.book, rule)
            found.append(line)
    return tuple(found)


def cost(price: Price, parts: list[Part]) -> int:
    """What parts cost, nano-USD. Raises PriceMissing."""
    return sum(line.amount_nano for line in lines(price, parts, ""))


def _first(price: Price, *names: str) -> str:
    """The first of some components that has a rate. Raises PriceMissing."""
    if price.free:
        return names[0]
    for name in names:
        if name in price.rates:
            return name
    raise PriceMissing(price.provider, price.model, names[0])


def _count(raw: Mapping[str, Any], key: str) -> int:
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _details(raw: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((found for name in names if isinstance(found := raw.get(name), Mapping)), {})


def tokens(price: Price, raw: Mapping[str, Any], made: str) -> list[Part] | None:
    """The parts of a usage in tokens; what is made is text, ``image`` or ``audio``.

    None: it is no such usage.
    """
    prompt, output = _count(raw, "input_tokens"), _count(raw, "output_tokens")
    if not prompt + output or prompt + output > 10**9:
        return None
    of_input = _details(raw, "input_tokens_details", "input_token_details")
    of_output = _details(raw, "output_tokens_details", "output_token_details")
    pictures = min(_count(of_input, "image_tokens"), prompt)
    sound = min(_count(of_input, "audio_tokens"), prompt - pictures)
    written = min(_count(of_output, "text_tokens"), output)
    found: list[Part] = [
        ("input", "input", prompt - pictures - sound),
        ("input_image", _first(price, "input_image", "input"), pictures),
    ]
    if sound:
        found.append(("input_audio", _first(price, "input_audio"), sound))
    if made == "text":
        found.append(("output", "output", output))
    else:
        found.append((f"output_{made}", _made_of(price, made), output - written))
        found.append(("output", "output", written))
    return found


def _made_of(price: Price, made: str) -> str:
    """The rate of what is made: the book says ``output`` where a model makes nothing else."""
    return _first(price, f"output_{made}", "output")


def _bounded(text: str, count: Count) -> int:
    return int(count(text) * _SLACK) + _MORE_TOKENS


def _image_most(price: Price, asked: Asked, count: Count) -> list[Part]:
    number = asked.count("n", 1, 100) or 1
    if "image" in price.rates or price.free:
        return [("image", "image", number)]
    largest = _LARGEST_TOKENS
    size = _SIZE.fullmatch(asked.text("size"))
    if size is not None:
        largest = max(largest, ceil(int(size[1]) * int(size[2]) / _PIXELS_A_TOKEN))
    partial = asked.count("partial_images", 0, 10)
    brought = len(asked.files) or len(asked.fields.get("images") or ())
    return [
        ("input", "input", _bounded(asked.text("prompt"), count)),
        ("input_image", _first(price, "input_image", "input"), brought * _PICTURE_IN_TOKENS),
        ("output_image", _made_of(price, "image"), number * largest + partial * _PARTIAL_TOKENS),
    ]


def _image_parts(
    price: Price, asked: Asked, told: Told, _: Count
) -> tuple[list[Part], bool] | None:
    if "image" in price.rates or price.free:
        return [("image", "image", told.pictures)], True
    found = tokens(price, told.usage or {}, "image")
    return (found, True) if found is not None else None


def _by_letter(price: Price) -> str | None:
    """The rate of a character, where speech is priced by it."""
    if "character" in price.rates or price.free:
        return "character"
    only_input = "input" in price.rates and not {"output", "output_audio"} & set(price.rates)
    return "input" if only_input else None


def _spoken(asked: Asked) -> int:
    """Tokens of speech that a text makes when it is read slowly."""
    speed = asked.fields.get("speed")
    slower = min(4.0, max(1.0, 1 / speed)) if isinstance(speed, int | float) and speed > 0 else 1.0
    return ceil(len(asked.text("input")) / _LETTERS_S * slower * _SOUND_TOKENS_S) + _MORE_TOKENS


def _speech_most(price: Price, asked: Asked, count: Count) -> list[Part]:
    letter = _by_letter(price)
    if letter is not None:
        return [("character", letter, len(asked.text("input")))]
    said = f"{asked.text('instructions')}{asked.text('input')}"
    return [
        ("input", "input", _bounded(said, count)),
        ("output_audio", _made_of(price, "audio"), _spoken(asked)),
    ]


def _speech_parts(
    price: Price, asked: Asked, told: Told, count: Count
) -> tuple[list[Part], bool] | None:
    if _by_letter(price) is not None:
        return _speech_most(price, asked, count), True
    found = tokens(price, told.usage or {}, "audio")
    return (found, True) if found is not None else (_speech_most(price, asked, count), False)


def _second(price: Price) -> str | None:
    if price.free:
        return "second"
    return next((name for name in ("second", "input_second") if name in price.rates), None)


def _heard(asked: Asked) -> bytes:
    """The sound itself; a part of another name is not what the provider hears."""
    named = (data for name, data in asked.files.items() if name.startswith("file"))
    return next(named, b"")


def _heard_tokens(price: Price, length: float, prompt: int) -> list[Part]:
    sound = ceil(length * _SOUND_TOKENS_S)
    return [
        ("input", "input", prompt),
        ("input_audio", _first(price, "input_audio"), sound),
        ("output", "output", sound),
    ]


def _transcript_most(price: Price, asked: Asked, count: Count) -> list[Part]:
    name, length = _second(price), at_most(_heard(asked))
    if name is not None:
        return [("second", name, ceil(length * 1.02) + 1)]
    return _heard_tokens(price, length + 1, _bounded(asked.text("prompt"), count))


def _transcript_parts(
    price: Price, asked: Asked, told: Told, count: Count
) -> tuple[list[Part], bool] | None:
    raw, name = told.usage or {}, _second(price)
    own = seconds(_heard(asked))
    if name is not None:
        said = raw.get("seconds", told.seconds)
        known = isinstance(said, int | float) and 0 <= said < 10**7
        length = float(said) if known and said is not None else own
        return ([("second", name, ceil(length))], known) if length is not None else None
    found = tokens(price, raw, "text")
    if found is not None:
        return found, True
    if own is None:
        return None
    return _heard_tokens(price, own, _bounded(asked.text("prompt"), count)), False


IMAGE = Kind(_image_most, _image_parts)
SPEECH = Kind(_speech_most, _speech_parts)
TRANSCRIPT = Kind(_transcript_most, _transcript_parts)
