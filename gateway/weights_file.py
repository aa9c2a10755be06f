"""The weights that `routing.weights` names, read relative to the configuration."""

from __future__ import annotations

from pathlib import Path

from gateway.yaml_text import Document
from router.complexity import bundled_complexity
from router.correction import Correction, corrected, read_correction
from router.errors import WeightsInvalid

ROLLBACK = "train again with `weir router train`, or remove the line: the shipped weights serve"


def read_weights(name: str | None, document: Document) -> tuple[Correction | None, str]:
    """The correction of the shipped score and its file's text; (None, "") where none is named.

    Raises:
        ConfigError: a file that cannot be read, is none, or was made for another shipped score.
    """
    if name is None:
        return None, ""
    path = Path(document.source).parent / name
    where = ("routing", "weights")
    try:
        text = path.read_text(encoding="utf-8")
        found = read_correction(text, path.name)
        corrected(bundled_complexity(), found)
    except UnicodeDecodeError:
        raise document.error(where, f"{path} is not UTF-8", ROLLBACK) from None
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
        raise document.error(where, problem, ROLLBACK) from None
    except WeightsInvalid as error:
        raise document.error(where, str(error), ROLLBACK) from None
    return found, text
