"""A YAML text with the place of every key, so that a mistake can be told with its line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from gateway.errors import ConfigError

Location = tuple[str | int, ...]
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# `{ api_key: ${NAME} }` is no YAML: inside braces a brace must be quoted, which nobody
# expects. The reference stands between two private characters while YAML reads the file.
_VEILED = re.compile("\ue000([A-Za-z_][A-Za-z0-9_]*)\ue001")


def veil(text: str) -> str:
    """``text`` with every ``${NAME}`` in a form that YAML reads as part of a plain word."""
    return _ENV.sub("\ue000\\1\ue001", text)


def unveil(text: str) -> str:
    """What ``veil`` was given."""
    return _VEILED.sub(r"${\1}", text)


class _Plain(RoundTripConstructor):
    """Dates stay the text that was written: who reads them knows what zone they need.

    A key is a word: lists and mappings, which YAML allows, are refused at their line.
    """

    def check_mapping_key(
        self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any
    ) -> bool:
        """Whether a key is new. Raises ConstructorError: it is no plain word."""
        if not isinstance(key_node, ScalarNode):
            raise ConstructorError(
                None, None, "a key is a list or a mapping, not a word", key_node.start_mark
            )
        fresh: bool = super().check_mapping_key(node, key_node, mapping, key, value)
        return fresh


_Plain.add_constructor("tag:yaml.org,2002:timestamp", _Plain.construct_scalar)


class Document:
    """A YAML text with the position of every key; ``schema`` is what it will be held to."""

    def __init__(
        self, text: str, source: str, environ: Mapping[str, str], schema: type[BaseModel]
    ) -> None:
        self._schema = schema
        self.source = source
        self._text = text
        self._environ = environ
        yaml = YAML(typ="rt", pure=True)
        yaml.Constructor = _Plain
        yaml.allow_duplicate_keys = False
        try:
            self._tree: Any = yaml.load(veil(text))
        except DuplicateKeyError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problem = str(error.problem or "duplicate key").split(" with value")[0]
            raise ConfigError(f"{source}:{line}", "", problem, "keep one of the two") from None
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problem = str(error.problem or "not valid YAML")
            raise ConfigError(
                f"{source}:{line}", "", problem, "correct the YAML at this line"
            ) from None
        except YAMLError as error:  # characters that no YAML text may hold
            problem = str(error).splitlines()[0]
            raise ConfigError(f"{source}:1", "", problem, "save it as plain UTF-8 text") from None
        except (RecursionError, ValueError, TypeError):  # nested or counted beyond all sense
            problem = "not readable: nested too deeply, or a number that is none"
            raise ConfigError(f"{source}:1", "", problem, "start from `weir init`") from None
        if not isinstance(self._tree, dict):
            raise ConfigError(f"{source}:1", "", "not a mapping", "start from `weir init`")
        self.plain: dict[str, Any] = self._convert(self._tree, ())

    def _convert(self, node: Any, where: Location) -> Any:
        if isinstance(node, dict):
            return {str(key): self._convert(value, (*where, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self._convert(value, (*where, n)) for n, value in enumerate(node)]
        if isinstance(node, str):
            return _VEILED.sub(lambda match: self._env(match.group(1), where), str(node))
        if isinstance(node, bool) or node is None:
            return node
        if isinstance(node, int | float):
            return int(node) if isinstance(node, int) else float(node)
        raise self.error(where, "a value with a tag (!...)", "write it without the tag")

    def _env(self, name: str, where: Location) -> str:
        value = self._environ.get(name)
        if not value:
            raise self.error(
                where, f"the environment variable {name} is not set", f"export {name}=..."
            )
        return value

    def line(self, where: Sequence[str | int]) -> int:
        """The 1-based line of the nearest key that exists on the way to ``where``."""
        node: Any = self._tree
        line = 1
        for wanted in where:
            is_map = isinstance(node, dict)
            step = (
                next((key for key in node if str(key) == str(wanted)), wanted) if is_map else wanted
            )
            try:
                position = node.lc.key(step) if is_map else node.lc.item(step)
                line = position[0] + 1
                node = node[step]
            except (KeyError, IndexError, AttributeError, TypeError):
                break
        return line

    def error(self, where: Location, problem: str, fix: str) -> ConfigError:
        """A ConfigError at a key."""
        key = ".".join(str(step) for step in where)
        return ConfigError(f"{self.source}:{self.line(where)}", key, problem, fix)

    def named(self, problem: str) -> ConfigError:
        """A finding about several keys, at the first line with a word that it quotes."""
        word = re.search(r"['`]([^'`]+)['`]", problem)
        rows = enumerate(self._text.splitlines(), 1)
        line = next((n for n, row in rows if word is not None and word[1] in row), 1)
        return ConfigError(f"{self.source}:{line}", "", problem, "correct what is named above")

    def missing(self, where: Location, name: str, what: str, known: Collection[str]) -> ConfigError:
        """A reference to something that is not declared."""
        near = difflib.get_close_matches(name, list(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"declared: {', '.join(known) or 'none'}"
        return self.error(where, f"{what} {name!r} is not declared", hint)

    def explain(self, error: ValidationError) -> ConfigError:
        """The first of pydantic's findings, in our words."""
        first = error.errors(include_url=False)[0]
        where = tuple(step for step in first["loc"] if self._is_key(step, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = self._known(where)
            near = difflib.get_close_matches(str(where[-1]), known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else "remove it; " + _listing(known)
            return self.error(where, "unknown key", fix)
        if first["type"] == "missing":
            return self.error(where, "this key is required", f"add `{where[-1]}:`")
        value = first.get("input")
        shown = f" (got {value!r})" if isinstance(value, str | int | float | bool) else ""
        if _may_be_secret(where):
            shown = ""
        message = str(first["msg"]).removeprefix("Value error, ")
        return self.error(where, message + shown, "see docs/reference/configuration.md")

    def _is_key(self, step: str | int, loc: Sequence[str | int]) -> bool:
        """Whether a step of pydantic's location is a key (tags of unions are not)."""
        node: Any = self.plain
        for other in loc:
            if other is step:
                break
            node = _child(node, other)
        if isinstance(node, dict):
            return step in node or step is loc[-1]
        return isinstance(node, list) and isinstance(step, int)

    def _known(self, where: Location) -> list[str]:
        model: Any = self._schema
        for step in where[:-1]:
            field = getattr(model, "model_fields", {}).get(str(step))
            if field is None:
                continue
            for candidate in _models_in(field.annotation):
                model = candidate
        fields = getattr(model, "model_fields", {})
        return [field.alias or name for name, field in fields.items()]


def _may_be_secret(where: Location) -> bool:
    """Whether a value there may be a credential, be it by mistake."""
    return bool(where) and (
        where[0] in ("keys", "upstreams", "database", "shared_state")
        or where[-1] in ("api_key", "password", "webhook")
    )


def _child(node: Any, step: str | int) -> Any:
    """One step down; a step that is no key (a union's tag) stays where it is."""
    if isinstance(node, dict):
        return node.get(step, node)
    if isinstance(node, list) and isinstance(step, int) and step < len(node):
        return node[step]
    return node


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_models_in(argument))
    return found


def _listing(known: Sequence[str]) -> str:
    return f"known keys here: {', '.join(known)}" if known else "no keys are known here"
