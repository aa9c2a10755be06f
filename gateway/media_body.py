"""Requests for pictures and sound, read as far as their bill needs; the bytes stay as they are.

Bodies are JSON or forms. Of a form each field is found by its own header; what two readers could
disagree on is refused: a second boundary, a field that stands twice, a field sent as a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

from gateway.errors import InvalidRequest
from gateway.wire import body as bodies
from gateway.wire.reading import model_of

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_MOST_PARTS = 256
_FILES = re.compile(r"(?:file|image|mask)(?:\[\d*\])?")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for.

    ``fields`` are its plain values, ``files`` the contents it brings. ``place`` is where the
    model's name stands in a form; None in JSON.
    """

    model: str
    fields: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    place: tuple[int, int] | None = None

    def text(self, name: str) -> str:
        """A field's text; nothing where there is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""

    def count(self, name: str, default: int, most: int) -> int:
        """A field's number. Raises InvalidRequest."""
        value = self.fields.get(name)
        if value is None or value == "":
            return default
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
            raise InvalidRequest(f"{name!r} must be an integer of 0 to {most}", param=name)
        return number

    @property
    def stream(self) -> bool:
        """Whether the answer is to come as events."""
        asked = self.fields.get("stream") in (True, "true", "True", "1")
        return asked or self.fields.get("stream_format") == "sse"


def read(raw: bytes, content_type: str) -> Asked:
    """What a body asks for. Raises InvalidRequest."""
    if content_type.lower().startswith("multipart/form-data"):
        return _form(raw, content_type)
    body = bodies.load(raw)
    bodies.check_duplicates(raw)
    return Asked(model_of(body), body)


def renamed(raw: bytes, asked: Asked, model: str) -> bytes:
    """The same bytes with another model's name in them."""
    if asked.model == model:
        return raw
    if asked.place is None:
        return bodies.with_values(raw, {"model": model})
    start, end = asked.place
    return raw[:start] + model.encode() + raw[end:]


def _form(raw: bytes, content_type: str) -> Asked:
    found = _BOUNDARY.search(content_type)
    if found is None or content_type.lower().count("boundary") != 1:
        raise InvalidRequest("a form needs one plain boundary in its Content-Type")
    mark = b"--" + (found.group(1) or found.group(2)).encode("latin-1", "replace")
    fields: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    place = None
    for start, end in _parts(raw, mark):
        head_end = raw.find(b"\r\n\r\n", start, end)
        if head_end < 0:
            raise InvalidRequest("a part of the form has no end of its head")
        name, is_file = _named(raw[start:head_end])
        data = (head_end + 4, end)
        if is_file and not _FILES.fullmatch(name):
            raise InvalidRequest(f"the field {name[:64]!r} is no file: send it plainly", param=name)
        if _FILES.fullmatch(name):
            files[f"{name}#{len(files)}"] = raw[data[0] : data[1]]
            continue
        if name in fields and not name.endswith("[]"):
            raise InvalidRequest(f"the form has {name[:64]!r} twice; send it once", param=name)
        if name == "model":
            place = data
        fields[name] = raw[data[0] : data[1]].decode("utf-8", "replace")
    return Asked(model_of(fields), fields, files, place)


def _parts(raw: bytes, mark: bytes) -> list[tuple[int, int]]:
    """Where each part's head begins and its content ends."""
    if not raw.startswith(mark):
        raise InvalidRequest("the form does not begin with its boundary")
    spans: list[tuple[int, int]] = []
    at = len(mark)
    while raw[at : at + 2] == b"\r\n":
        end = raw.find(b"\r\n" + mark, at)
        if end < 0 or len(spans) >= _MOST_PARTS:
            break
        spans.append((at + 2, end))
        at = end + 2 + len(mark)
    if raw[at : at + 2] != b"--" or not spans:
        raise InvalidRequest("the form is cut off, or has no parts")
    return spans


def _named(head: bytes) -> tuple[str, bool]:
    """A part's name, and whether it is a file."""
    said: Message = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
    name = said.get_param("name", header="content-disposition")
    if not isinstance(name, str) or len(said.get_all("content-disposition") or ()) != 1:
        raise InvalidRequest("a part of the form has no plain name")
    return name, said.get_filename() is not None
