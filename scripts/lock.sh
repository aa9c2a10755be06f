#!/usr/bin/env bash
# Resolve requirements/{runtime,test}.txt, every file with its hashes.
# torch and what only its CUDA wheel brings stay out: they differ by platform.
set -euo pipefail
cd "$(dirname "$0")/.."
uv="${UV:-.venv/bin/uv}"
compile() {
  "$uv" pip compile pyproject.toml "$@" --constraint requirements/constraints.in \
    --generate-hashes --python-version 3.11 --universal --no-header --no-annotate --quiet \
    --no-emit-package torch --no-emit-package triton $(
      "$uv" pip compile pyproject.toml --constraint requirements/constraints.in --python-version 3.11 \
        --universal --no-header --no-annotate --quiet | sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+)==.*/--no-emit-package \1/p')
}
compile -o requirements/runtime.txt > /dev/null
compile --extra test --constraint requirements/runtime.txt -o requirements/all.tmp > /dev/null
# The second file holds only what the first does not, or only on another platform.
.venv/bin/python - <<'PY'
import re
from pathlib import Path

def blocks(path):
    text = Path(path).read_text()
    return {b.partition(" \\")[0]: b for b in re.split(r"\n(?=[A-Za-z0-9])", text.strip())}

runtime = blocks("requirements/runtime.txt")
extra = [b for n, b in blocks("requirements/all.tmp").items() if n not in runtime]
Path("requirements/test.txt").write_text("\n".join(extra) + "\n")
PY
rm requirements/all.tmp
