"""The card files that `effective_context:` of a model names, read and put in their place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gateway.yaml_text import Document
from router.effective import EffectiveLengths, from_card
from router.policy import ModelEntry


def read_cards(
    models: Mapping[str, ModelEntry], document: Document
) -> tuple[dict[str, ModelEntry], str]:
    """The models with every card file read, relative to the configuration; the files' texts.

    Raises:
        ConfigError: a file that cannot be read or used.
    """
    folder = Path(document.source).parent
    found, texts = dict(models), []
    for name, entry in models.items():
        if not isinstance(entry.effective_context, str):
            continue
        path, where = folder / entry.effective_context, ("models", name, "effective_context")
        try:
            text = path.read_text(encoding="utf-8")
            lengths = _lengths(text)
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror}"
            remedy = "write a number, lengths by kind, or a card's path relative to this file"
            raise document.error(where, problem, remedy) from None
        except (ValueError, YAMLError) as error:
            problem = f"{path} cannot be used: {_first(error)}"
            raise document.error(where, problem, "`weir probe MODEL` writes a card") from None
        window = entry.context_window
        if window is not None and lengths.longest > window:
            problem = f"{path} has a length of {lengths.longest:,} beyond context_window {window:,}"
            raise document.error(where, problem, "probe with --to below the window")
        found[name] = entry.model_copy(update={"effective_context": lengths})
        texts.append(text)
    return found, "\n".join(texts)


def _lengths(text: str) -> EffectiveLengths:
    return from_card(YAML(typ="safe", pure=True).load(text))


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error).splitlines()[0]
