"""One fuzz target under atheris, from its seeds: `make fuzz` runs all.

    python tests/fuzz_run.py TARGET [--runs 100000]

atheris is not among the test requirements, since it exists for few platforms: `make fuzz`
installs it, pinned, beside them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

OURS = ["gateway", "billing", "compressor", "fuzz_targets"]

sys.path.insert(0, str(Path(__file__).parent))
with atheris.instrument_imports(include=OURS):
    from fuzz_targets import SEEDS, TARGETS


def main() -> None:
    """Run until so many inputs were tried, or one breaks the promise."""
    reader = argparse.ArgumentParser()
    reader.add_argument("target", choices=sorted(TARGETS))
    reader.add_argument("--runs", type=int, default=100_000)
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(SEEDS[given.target]):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = [f"-runs={given.runs}", "-max_len=4096", "-timeout=10", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *options, corpus], TARGETS[given.target])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
