"""The guides of other clients, run as they stand, against the real gateway.

Their libraries lie in folders of their own below `.cache/clients`, made by `make test-clients`,
which runs these tests; `make test` does not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import House

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / ".cache" / "clients"
GUIDES = ROOT / "docs" / "guides" / "clients"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.clients,
]
PYTHON, NODE = CLIENTS / "python" / "bin" / "python", CLIENTS / "node"


def code(guide: str, language: str) -> str:
    """All that a guide has of one language, as one program."""
    text = (GUIDES / f"{guide}.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL))


def told(command: list[str], house: House, folder: Path) -> dict[str, str]:
    """What a program printed, by the word before the colon."""
    assert PYTHON.exists(), "`make test-clients` installs the libraries"
    environ = {
        **os.environ,
        "WEIR_URL": house.gateway.url,
        "WEIR_KEY": house.key.secret,
        "NO_PROXY": "127.0.0.1",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (line.partition(":") for line in done.stdout.splitlines())
    return {name: rest.strip() for name, _, rest in lines}


@pytest.mark.parametrize(
    ("guide", "parts"),
    [
        ("langchain", "plain stream tool structured vision anthropic async"),
        ("llama-index", "plain stream async tool"),
        ("litellm", "plain stream async tool"),
    ],
)
def test_a_python_framework_works_as_its_guide_says(
    guide: str, parts: str, house: House, tmp_path: Path
) -> None:
    """Plain, streamed, with tools, structured, with a picture, on both wires, as far as it can."""
    path = tmp_path / "guide.py"
    path.write_text(code(guide, "python"), encoding="utf-8")
    found = told([str(PYTHON), "-I", str(path)], house, tmp_path)
    assert all(found[part] for part in parts.split()), found
    assert found["tool"].startswith("get_weather")


def test_vercels_sdk_works_as_its_guide_says(house: House, tmp_path: Path) -> None:
    """In Node: plain, streamed, tools, structured, and the receipt's name among the headers."""
    node = shutil.which("node")
    assert node is not None, "this client needs Node: install it, with npm"
    path = NODE / f"guide-{os.getpid()}.mjs"  # it finds its libraries beside itself
    path.write_text(code("vercel-ai-sdk", "js"), encoding="utf-8")
    try:
        found = told([node, str(path)], house, tmp_path)
    finally:
        path.unlink()
    parts = ("plain", "receipt", "stream", "tool", "structured", "anthropic")
    assert all(found[part] for part in parts), found
    assert found["tool"] == "21 degrees"
    with house.client() as client:
        assert client.get(f"/weir/receipts/{found['receipt']}").status_code == 200
