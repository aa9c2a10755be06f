"""The Dockerfile's steps are read as an engine would read them."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))

from scripts.image_steps import copied, said_as_json, stages  # noqa: E402

TEXT = """# a comment
ARG PYTHON=3.11
FROM python:${PYTHON} AS build
# what changes rarely
COPY requirements/runtime.txt requirements/runtime.txt
RUN apt-get update \\
    # between
    && apt-get install
FROM python:${PYTHON}
HEALTHCHECK --interval=15s CMD ["python", "-c", "x"]
CMD ["serve", "--port", "8080"]
"""


def test_stages_are_split_and_lines_joined() -> None:
    """Comments go, continuations become one step, each FROM begins a stage."""
    first, last = stages(TEXT)
    assert [step.word for step in first] == ["COPY", "RUN"]
    assert first[1].rest == "apt-get update && apt-get install"
    assert said_as_json(last, "HEALTHCHECK") == ["python", "-c", "x"]
    assert said_as_json(last, "CMD")[0] == "serve"


def test_the_image_copies_every_package() -> None:
    """What pyproject.toml installs is what the build stage copies."""
    first, _ = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    brought = {name for sources, _ in copied(first) for name in sources}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= brought
    assert {"gateway", "compressor", "router", "billing", "dashboard"} <= brought
