"""Run the Dockerfile's own steps in a clean folder, where no container engine is at hand.

    python scripts/image_steps.py [--keep FOLDER] [--torch-index URL]

What it proves: the COPY lines bring all that the package needs, the pinned requirements
install with their hashes, the command starts as the image's user, writes only below its data
folder, answers its health check, and leaves with 0 on SIGTERM. What it does not: the base
image and its system packages (``apt-get`` lines are told and left out).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USER = 10001
READY_S = 60
CONFIG = """version: 1
database: sqlite:///{data}/weir.db
upstreams: {{ house: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }} }}
models: {{ local: {{ upstream: house, tier: small, free: true }} }}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of a Dockerfile: its word and the rest, continuations joined."""

    word: str
    rest: str


def stages(text: str) -> list[list[Step]]:
    """The instructions of each stage, comments left out; ARG lines before FROM belong to none."""
    joined = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found: list[list[Step]] = []
    for line in filter(None, (part.strip() for part in joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        elif found:
            found[-1].append(Step(word, re.sub(r"\s+", " ", rest.strip())))
    return found


def copied(steps: list[Step]) -> Iterator[tuple[list[str], str]]:
    """What each COPY of the build stage brings, and where to."""
    for step in steps:
        if step.word == "COPY":
            *sources, target = step.rest.split()
            yield sources, target


def said_as_json(steps: list[Step], word: str) -> list[str]:
    """The last ENTRYPOINT, CMD or HEALTHCHECK command in its exec form."""
    rest = next(step.rest for step in reversed(steps) if step.word == word)
    found = json.loads(rest[rest.index("[") :])
    return [str(part) for part in found]


def build(steps: list[Step], folder: Path, torch_index: str | None) -> None:
    """The build stage, in ``folder`` instead of /."""
    source, venv = folder / "src", folder / "opt" / "weir"
    source.mkdir(parents=True)
    python = shlex.quote(str(_interpreter(folder)))
    environment = {**os.environ, "PATH": f"{venv}/bin:{os.environ['PATH']}"}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    for step in steps:
        if step.word == "COPY":
            _copy(step, source)
        elif step.word == "RUN" and "apt-get" in step.rest:
            print(f"left out: RUN {step.rest}")
        elif step.word == "RUN":
            command = step.rest.replace("/opt/weir", str(venv))
            index = f"--index-url {shlex.quote(torch_index)} " if torch_index else ""
            command = command.replace('--index-url "${TORCH_INDEX}" ', index)
            command = command.replace("python -m venv", f"{python} -m venv")
            print(f"RUN {command}", flush=True)
            subprocess.run(  # noqa: S603 - the repository's own Dockerfile
                ["/bin/bash", "-eo", "pipefail", "-c", command],
                cwd=source, env=environment, check=True,
            )  # fmt: skip


def _interpreter(folder: Path) -> Path:
    """A Python that the image's user may run too; one below a closed home folder is copied."""
    prefix = Path(sys.base_prefix)
    if os.geteuid() != 0 or all(part.stat().st_mode & 0o001 for part in (prefix, *prefix.parents)):
        return Path(sys.executable)
    left_out = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
    shutil.copytree(prefix, folder / "usr", symlinks=True, ignore=left_out)
    return folder / "usr" / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"


def _copy(step: Step, source: Path) -> None:
    ((sources, target),) = copied([step])
    ignored = shutil.ignore_patterns("__pycache__", "*.db")
    for name in sources:
        found, into = ROOT / name, source / target
        if found.is_dir():
            shutil.copytree(found, into, ignore=ignored)
        else:
            into = into / found.name if target.endswith("/") else into
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, into)


def serve(steps: list[Step], folder: Path) -> None:
    """The final stage's command under its user, until its own health check passes.

    Raises:
        SystemExit: it did not start, or did not leave with 0.
    """
    data, port = folder / "data", _free_port()
    data.mkdir()
    config = folder / "weir.yaml"
    config.write_text(CONFIG.format(data=data))
    root = os.geteuid() == 0
    if root:
        os.chown(data, USER, USER)
    binaries = folder / "opt" / "weir" / "bin"
    environment = _variables(steps) | {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(data)}
    if (folder / "usr" / "lib").is_dir():  # a copied interpreter finds its own library
        environment["LD_LIBRARY_PATH"] = str(folder / "usr" / "lib")
    rewritten = {"/etc/weir/weir.yaml": str(config), "8080": str(port), "0.0.0.0": "127.0.0.1"}  # noqa: S104 - read, not bound
    command = [rewritten.get(part, part) for part in said_as_json(steps, "CMD")]
    entry = [str(binaries / said_as_json(steps, "ENTRYPOINT")[0])]
    check = [part.replace("8080", str(port)) for part in said_as_json(steps, "HEALTHCHECK")]
    who = {"user": USER, "group": USER, "extra_groups": ()} if root else {}
    with subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 - the same
        [*entry, *command], cwd=data, env=environment, **who
    ) as served:
        try:
            _until_healthy(served, [str(binaries / check[0]), *check[1:]], environment)
        finally:
            served.terminate()
            code = served.wait(timeout=60)
    if code != 0:
        sys.exit(f"the image's command left with {code} on SIGTERM")
    print(f"healthy as user {USER if root else os.geteuid()}, left with 0 on SIGTERM")


def _until_healthy(
    served: subprocess.Popen[bytes], check: list[str], environment: dict[str, str]
) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if served.poll() is not None:
            sys.exit(f"the image's command left with {served.returncode} before it was healthy")
        done = subprocess.run(  # noqa: S603 - the same
            check, env=environment, capture_output=True, check=False, timeout=10
        )
        if done.returncode == 0:
            return
        time.sleep(0.5)
    sys.exit(f"the health check did not pass within {READY_S} s")


def _variables(steps: list[Step]) -> dict[str, str]:
    """What the stage's ENV lines set."""
    return dict(
        part.split("=", 1) for step in steps if step.word == "ENV" for part in step.rest.split()
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def megabytes(folder: Path) -> int:
    """What the files below take on disk."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return round(sum(sizes) / 1e6)


def main() -> None:
    """Both stages, and the size of what the image carries above its base."""
    reader = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    reader.add_argument("--keep", type=Path, help="build here, and leave it")
    reader.add_argument("--torch-index", help="where torch comes from; pip's own by default")
    given = reader.parse_args()
    first, last = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="weir-image-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # the image's user must reach what root built
        build(first, folder, given.torch_index)
        serve(last, folder)
        print(f"{megabytes(folder / 'opt' / 'weir')} MB above the base image")


if __name__ == "__main__":
    main()
