"""A JSON value that a schema accepts, made of words found in the prompt.

Deterministic: the same schema, text and seed give the same value. Covers what providers
accept for structured output and tool arguments (type, properties, required, enum, const,
anyOf, oneOf, allOf, $ref, formats, bounds); a ``pattern`` that no candidate meets is
refused, as a provider refuses keywords it cannot honour.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.simulator_wire import Json, SimError

_DEEPEST = 12  # beyond it only required members are filled, so a recursive schema ends
_HARD_STOP = 60
_FORMATS = {
    "date": "2026-11-21",
    "date-time": "2026-11-21T10:00:00Z",
    "time": "10:00:00Z",
    "duration": "PT15M",
    "email": "ana@acme.example",
    "hostname": "acme.example",
    "ipv4": "192.0.2.10",
    "ipv6": "2001:db8::1",
    "uuid": "3f2b8c1e-5d47-4a90-8e6b-2a1c9d7f0b34",
    "uri": "https://acme.example/item/1",
}
_SHAPES = ("A", "a", "0", "1", "AB", "ab", "10", "42", "ABC", "abc", "123", "1234", "AB12")
_SHAPES_LONG = ("+15551234567", "12345", "#W1000000", "acme-1", "acme_1", "1.0", "1.2.3", "USD")


@dataclass(frozen=True, slots=True)
class _Maker:
    root: Json
    text: str
    seed: int

    def value(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._resolved(schema, depth)
        fixed = [schema["const"]] if "const" in schema else schema.get("enum")
        if fixed:
            return self._chosen(fixed, name)
        return self._typed(schema, name, depth)

    def _typed(self, schema: Json, name: str, depth: int) -> Any:
        made: Any = None
        match self._type(schema):
            case "object":
                made = self._object(schema, depth)
            case "array":
                made = self._array(schema, name, depth)
            case "integer" | "number" as kind:
                made = self._number(schema, name, whole=kind == "integer")
            case "boolean":
                made = self._roll(name, 2) == 1
            case "null":
                pass
            case _:
                made = self._string(schema, name)
        return made

    def _resolved(self, schema: Any, depth: int) -> Json:
        """``schema`` with references, unions and intersections replaced by one plain schema."""
        if depth > _HARD_STOP:
            raise SimError("Invalid schema: it can only be met by an endless value.")
        if not isinstance(schema, Mapping):
            return {}  # true: anything
        if "$ref" in schema:
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return self._resolved({**self._target(str(schema["$ref"])), **rest}, depth + 1)
        for union in ("anyOf", "oneOf"):
            if schema.get(union):
                options: Sequence[Any] = schema[union]
                # deep down, the last option is taken: by custom that is null or the leaf
                option = options[0] if depth < _DEEPEST else options[-1]
                rest = {key: value for key, value in schema.items() if key != union}
                return self._resolved({**rest, **self._resolved(option, depth + 1)}, depth)
        if schema.get("allOf"):
            merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
            for option in schema["allOf"]:
                part = self._resolved(option, depth + 1)
                properties = {**merged.get("properties", {}), **part.get("properties", {})}
                required = [*merged.get("required", []), *part.get("required", [])]
                merged = {**merged, **part}
                if properties:
                    merged["properties"], merged["required"] = properties, required
            return merged
        return dict(schema)

    def _target(self, reference: str) -> Json:
        node: Any = self.root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if not step:
                continue
            node = node.get(step.replace("~1", "/").replace("~0", "~"))
            if not isinstance(node, Mapping):
                raise SimError(f"Invalid schema: reference {reference!r} leads nowhere.")
        return dict(node)

    @staticmethod
    def _type(schema: Json) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "null")
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else ""
        return str(kind)

    def _object(self, schema: Json, depth: int) -> dict[str, Any]:
        properties: Json = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        names = [key for key in properties if key in required or depth < _DEEPEST]
        made = {key: self.value(properties[key], key, depth + 1) for key in names}
        extra = schema.get("additionalProperties")
        for key in sorted(required - set(properties)):
            made[key] = self.value(extra if isinstance(extra, Mapping) else {}, key, depth + 1)
        return made

    def _array(self, schema: Json, name: str, depth: int) -> list[Any]:
        least = int(schema.get("minItems", 0))
        most = int(schema.get("maxItems", max(least, 3)))
        count = min(max(least, 1 + self._roll(name, 2)), most)
        count = least if depth >= _DEEPEST else count
        return [self.value(schema.get("items"), f"{name}{i}", depth + 1) for i in range(count)]

    def _number(self, schema: Json, name: str, *, whole: bool) -> int | float:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        step = schema.get("multipleOf") or (1 if whole else 0.5)
        floor = low if low is not None else (min(0, high) if high is not None else 1)
        multiple = -(-floor // step)  # the smallest multiple at or above the floor
        if "exclusiveMinimum" in schema and multiple * step <= floor:
            multiple += 1
        room = int((high - multiple * step) // step) if high is not None else 99
        if "exclusiveMaximum" in schema and (multiple + room) * step >= high:
            room -= 1
        number = (multiple + (self._roll(name, min(room, 99) + 1) if room > 0 else 0)) * step
        if room < 0 and not whole and high is not None:
            number = (floor + high) / 2  # no multiple of the step lies between the bounds
        return int(number) if whole else float(number)

    def _string(self, schema: Json, name: str) -> str:
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        pattern = schema.get("pattern")
        found = self._found(name)
        form = schema.get("format")
        candidates = [_FORMATS[form]] if form in _FORMATS else found
        if pattern is not None:
            matching = re.compile(str(pattern))
            tokens = dict.fromkeys(self.text[-20_000:].split())
            words = [word.strip(".,;:!?()\"'") for word in tokens]
            tried = [*found, *words, *_FORMATS.values(), *_SHAPES, *_SHAPES_LONG]
            candidates = [text for text in tried if matching.search(text)]
        for text in candidates:
            if len(text) >= least and (most is None or len(text) <= most):
                return text
        if pattern is not None:
            raise SimError(f"Invalid schema: pattern {pattern!r} is not supported.")
        text = (candidates[0] if candidates else name or "value").ljust(least, "x")
        return text if most is None else text[: int(most)]

    def _found(self, name: str) -> list[str]:
        """Words of the prompt that may stand in a field of this name, best first."""
        lowered = name.lower()
        tail = self.text[-20_000:]
        if "mail" in lowered:
            wanted = r"[\w.+-]+@[\w-]+\.[\w.-]*\w"
        elif "date" in lowered or lowered.endswith("day"):
            wanted = r"\d{4}-\d{2}-\d{2}"
        elif "id" in re.split(r"[_\W]", lowered) or lowered.endswith(("number", "code")):
            wanted = r"#?\b[A-Z]*\d[\w-]{2,}"
        else:
            wanted = r"\b[A-Z][a-z]{3,}(?: [A-Z][a-z]+)*\b"
        found = list(dict.fromkeys(re.findall(wanted, tail)))
        words = list(dict.fromkeys(re.findall(r"\b[a-z]{5,}\b", tail[-2_000:])))
        turn = self._roll(name, len(found)) if found else 0
        return [*found[turn:], *found[:turn], *words[:20], "value"]

    def _chosen(self, options: Sequence[Any], name: str) -> Any:
        lowered = self.text[-20_000:].lower()
        named = [o for o in options if isinstance(o, str) and o and o.lower() in lowered]
        among = named or list(options)
        return among[self._roll(name, len(among))]

    def _roll(self, name: str, sides: int) -> int:
        digest = hashlib.blake2b(f"{self.seed}:{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % max(sides, 1)


def instance(schema: Json, text: str, seed: int) -> Any:
    """A value that ``schema`` accepts; strings come from ``text`` where they can.

    Raises:
        SimError: the schema cannot be met (a dangling reference, endless recursion, a
            pattern beyond the candidates).
    """
    return _Maker(schema, text, seed).value(schema, "", 0)
