"""One page of metrics for all worker processes.

Each writes its own page to a folder they share, a few times a second; whoever is asked adds
them up. A worker that died leaves its last page, so that no counter goes back; its gauges
are not counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PUBLISH_S = 0.25
_LIVE, _GONE = ".prom", ".gone"


@dataclass(slots=True)
class _Family:
    """The lines of one metric: what it is, and its samples by name and labels."""

    head: list[str]
    gauge: bool
    samples: dict[str, float] = field(default_factory=dict)


class Peers:
    """This process's page among those of its siblings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._own = folder / f"{os.getpid()}{_LIVE}"

    def publish(self, page: bytes) -> None:
        """Siblings see this page; a full disk only makes it old."""
        fresh = self._own.with_suffix(".new")
        try:
            fresh.write_bytes(page)
            fresh.replace(self._own)
        except OSError:
            fresh.unlink(missing_ok=True)

    def merged(self, page: bytes) -> bytes:
        """This page and the siblings' as one."""
        pages = [(page.decode(), True)]
        for path in sorted(self.folder.iterdir()):
            if path != self._own and path.suffix in {_LIVE, _GONE}:
                try:
                    pages.append((path.read_text(encoding="utf-8"), path.suffix == _LIVE))
                except OSError:
                    continue  # it was just replaced or has just died
        return merge(pages).encode()


def has_page(folder: Path, pid: int | None = None) -> bool:
    """Whether a process, or this one, has published its page: it does so once it is ready."""
    return any(folder.glob(f"{'*' if pid is None else pid}{_LIVE}"))


def bury_page(folder: Path, pid: int) -> None:
    """A process that died leaves its counters and takes its gauges with it."""
    page = folder / f"{pid}{_LIVE}"
    if page.exists():
        page.rename(page.with_suffix(_GONE))


def merge(pages: list[tuple[str, bool]]) -> str:
    """Pages in Prometheus' text format, each with whether its process lives, added up."""
    families: dict[str, _Family] = {}
    for page, alive in pages:
        for name, family in _families(page):
            if family.gauge and not alive:
                continue
            whole = families.setdefault(name, _Family(family.head, family.gauge))
            for sample, value in family.samples.items():
                known = whole.samples.get(sample)
                if known is None:
                    whole.samples[sample] = value
                elif "_created" in sample.split("{", 1)[0]:
                    whole.samples[sample] = min(known, value)
                else:
                    whole.samples[sample] = known + value
    lines = []
    for family in families.values():
        lines += family.head
        lines += [f"{sample} {value!r}" for sample, value in family.samples.items()]
    return "\n".join(lines) + "\n"


def _families(page: str) -> Iterator[tuple[str, _Family]]:
    name, family = "", _Family([], gauge=False)
    for line in page.splitlines():
        if line.startswith("# HELP "):
            if name:
                yield name, family
            name, family = line.split(" ", 3)[2], _Family([line], gauge=False)
        elif line.startswith("# TYPE "):
            family.head.append(line)
            family.gauge = line.endswith(" gauge") and not name.endswith("_created")
        elif line:
            sample, _, value = line.rpartition(" ")
            family.samples[sample] = float(value)
    if name:
        yield name, family
