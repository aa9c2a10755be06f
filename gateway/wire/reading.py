"""What every wire's parser needs: complaints that name the field, counts, picture sizes."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping
from typing import Any

import imagesize
import orjson

from compressor.conversation import Media
from gateway.errors import InvalidRequest

USER_CHARS = 200
# The header of every common image format lies in its first kilobytes.
_IMAGE_HEAD_BASE64 = 64 * 1024


def wrong(param: str, value: object, expected: str) -> InvalidRequest:
    """The complaint about a field of a type that no provider accepts."""
    shown = "missing" if value is None else f"a {type(value).__name__}"
    if isinstance(value, int | float) or value in ("", []):
        shown = repr(value)
    return InvalidRequest(f"{param!r} is {shown}; expected {expected}", param=param)


def model_of(body: Mapping[str, Any]) -> str:
    """The model a body asks for. Raises InvalidRequest."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise wrong("model", model, "a non-empty string, one of GET /v1/models or `auto`")
    return model


def flag(body: Mapping[str, Any], key: str) -> bool:
    """A yes or no; absent is no. Raises InvalidRequest."""
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise wrong(key, value, "true or false")
    return bool(value)


def count(body: Mapping[str, Any], key: str, default: int | None) -> int | None:
    """A count of at least 1, ``default`` where absent. Raises InvalidRequest."""
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise wrong(key, value, "an integer of at least 1")
    return value


def listed(body: Mapping[str, Any], key: str, of: str) -> list[Any]:
    """A list, empty where absent. Raises InvalidRequest."""
    value = body.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(key, value, f"an array of {of}")
    return value


def user_of(named: str | None, value: object) -> str | None:
    """The end user: of the header, else of the body."""
    user = named or value
    return user[:USER_CHARS] if isinstance(user, str) and user else None


def dump(value: object) -> str:
    """A JSON value as compact text."""
    return orjson.dumps(value).decode()


def picture(payload: str | None, detail: str = "auto") -> Media:
    """The size of a picture in base64; None is one that lies elsewhere."""
    if payload is None:
        return Media(detail=detail)  # a remote image: its size is the provider's to find out
    try:
        head = base64.b64decode(payload[:_IMAGE_HEAD_BASE64])
        width, height = imagesize.get(io.BytesIO(head))
    except (binascii.Error, ValueError, OSError):
        width = height = -1
    known = width > 0 and height > 0
    return Media(
        width=int(width) if known else None,
        height=int(height) if known else None,
        detail=detail,
        bytes_=len(payload) * 3 // 4,
    )


def picture_at(url: object, detail: str = "auto") -> Media:
    """The size of a picture that a URL names or holds."""
    if not isinstance(url, str) or not url.startswith("data:"):
        return picture(None, detail)
    return picture(url.partition(",")[2], detail)
