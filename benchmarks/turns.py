"""A conversation that grows: what turn n costs, by stage, and whether only its new text counts.

    python benchmarks/turns.py
    python benchmarks/turns.py --turns 200 --json out.json --svg docs/images/growing.svg

The application is called in process as ``hot_path.py`` calls it, everything on; the provider
answers from memory, and the client sends the answer back with its next question, as clients
do. Several conversations take turns. A figure is CPU of the process and of its helpers, the
median of the turns of all conversations within a tenth of the turns: one turn of one
conversation is at the mercy of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, too

from benchmarks._load import pool
from benchmarks.hot_path import _CONFIG, Bench, watched
from gateway.app import create_app
from gateway.auth import hash_of, new_secret
from gateway.settings import parse as parse_settings
from gateway.upstream.protocol import Outbound

_TEXT = pool(4 << 20, seed=23)
PARTS = 10
WIDE, HIGH, EDGE = 640, 300, 60
COLOURS = ("#8b949e", "#1f6feb", "#d29922", "#8957e5", "#2da44e", "#cf222e", "#0550ae", "#bf8700")


class _Answer:
    """An answer of ``text`` from memory."""

    status = 200

    def __init__(self, text: str) -> None:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 80, "total_tokens": 280}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
        self._body = json.dumps({**head, "choices": [choice], "usage": usage}).encode()
        self.headers: Mapping[str, str] = {"content-type": "application/json"}

    async def read(self) -> bytes:
        """The whole body."""
        return self._body

    async def chunks(self) -> AsyncIterator[bytes]:
        """The same in one piece."""
        yield self._body

    async def close(self) -> None:
        """Nothing is open."""


class _Provider:
    """A provider that answers with the text it is told to."""

    name = "mock"

    def __init__(self) -> None:
        self.text = ""

    async def send(self, call: Outbound) -> _Answer:
        """An answer."""
        return _Answer(self.text)

    async def close(self) -> None:
        """Nothing is open."""


def texts(size: int, skip: int = 0) -> Iterator[str]:
    """Endless different texts of ``size`` characters."""
    number = skip
    while True:
        at = number * 104_729 % (len(_TEXT) - size)
        number += 1
        yield f"{number}: {_TEXT[at : at + size]}"


def helpers_s() -> float:
    """CPU seconds of the processes that work for this one."""
    found = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text().split():
                for one in Path(f"/proc/{pid}/task").iterdir():
                    found += int((one / "schedstat").read_text().split()[0])
    return found / 1e9


async def measure(options: argparse.Namespace) -> list[dict[str, float]]:
    """One row a turn of a conversation: its number, bytes of its body, microseconds by stage."""
    secret, provider = new_secret(), _Provider()
    source = texts(options.new // 2)
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        text = _CONFIG.format(folder=folder, hash=hash_of(secret))
        if not options.fit:
            text += "fit: { allow: [] }\n"
        settings = parse_settings(text, str(Path(folder) / "weir.yaml"))
        app = create_app(settings, upstreams={"mock": provider})
        await app.start()
        bench = Bench(app, secret, iter(()))
        for _ in range(100):  # what a process does once is done
            provider.text = next(source)
            await bench.request(_body([_said("user", next(source))]))
        timers = watched(app.shell)
        talks: list[list[dict[str, str]]] = [
            [_said("system", f"You help office {number}. {_TEXT[number : number + 1500]}")]
            for number in range(options.talks)
        ]
        for turn in range(1, options.turns + 1):
            for talk in talks:
                provider.text = next(source)
                talk.append(_said("user", next(source)))
                raw = _body(talk)
                talk.append(_said("assistant", provider.text))
                before, began = dict(timers.spent), time.process_time() + helpers_s()
                await bench.request(raw)
                whole = (time.process_time() + helpers_s() - began) * 1e6
                row = {k: (v - before[k]) * 1e6 for k, v in timers.spent.items()}
                row["all the rest"] = whole - sum(row.values())
                found.append({"turn": turn, "bytes": len(raw), "whole": whole, **row})
        await app.stop()
    return found


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _body(messages: Sequence[dict[str, str]]) -> bytes:
    return json.dumps({"model": "gpt-6.1-sol", "messages": messages, "max_tokens": 64}).encode()


def by_part(rows: Sequence[Mapping[str, float]], turns: int) -> list[dict[str, float]]:
    """Medians of every column over each tenth of the turns."""
    found = []
    for part in range(PARTS):
        low, high = turns * part // PARTS, turns * (part + 1) // PARTS
        own = [row for row in rows if low < row["turn"] <= high]
        if own:
            found.append({name: statistics.median(row[name] for row in own) for name in own[0]})
    return found


def slopes(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Microseconds that each KB of history adds, by stage: last tenth less first."""
    first, last = parts[0], parts[-1]
    kb = (last["bytes"] - first["bytes"]) / 1024
    names = [name for name in first if name not in ("turn", "bytes")]
    return {name: (last[name] - first[name]) / kb for name in names}


def drawing(parts: Sequence[Mapping[str, float]], names: Sequence[str]) -> str:
    """An SVG: milliseconds a turn, whole and by stage, over the turns."""
    most = max(part["whole"] for part in parts) * 1.1
    turns = parts[-1]["turn"]
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE + 200}" '
            f'height="{HIGH + 2 * EDGE}" font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDE + 200}" height="{HIGH + 2 * EDGE}" fill="white"/>',
        (
            f'<text x="{EDGE}" y="{EDGE - 30}" font-size="14">'
            "CPU of a turn, ms; each adds as much new text</text>"
        ),
    ]
    wide = WIDE - 2 * EDGE
    for step in range(5):
        y, value = EDGE + HIGH - step * HIGH / 4, most * step / 4 / 1e3
        lines.append(
            f'<line x1="{EDGE}" x2="{EDGE + wide}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
        )
        lines.append(f'<text x="12" y="{y + 4:.0f}" fill="#555">{value:.1f}</text>')
    for part in parts[::3]:
        x = EDGE + part["turn"] / turns * wide
        said = f"turn {part['turn']:.0f}, {part['bytes'] / 1024:.0f} KB"
        lines.append(
            f'<text x="{x:.0f}" y="{EDGE + HIGH + 20}" fill="#555" text-anchor="middle">{said}'
            "</text>"
        )
    for place, name in enumerate(names):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(
            f"{EDGE + part['turn'] / turns * wide:.1f},"
            f"{EDGE + HIGH - max(0.0, part[name]) / most * HIGH:.1f}"
            for part in parts
        )
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        lines.append(
            f'<text x="{EDGE + wide + 16}" y="{EDGE + 18 * place}" fill="{colour}">{escape(name)}'
            "</text>"
        )
    return "\n".join([*lines, "</svg>", ""])


def main() -> None:
    """Measure, print, and draw where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--talks", type=int, default=5, help="conversations, in turns")
    parser.add_argument("--new", type=int, default=1_200, help="characters that a turn adds")
    parser.add_argument("--fit", action="store_true", help="prompts may be cut, too")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--svg", type=Path, help="draw into this file")
    options = parser.parse_args()
    rows = uvloop.run(measure(options))
    parts = by_part(rows, options.turns)
    grown = slopes(parts)
    print(f"load {os.getloadavg()}; microseconds of CPU, medians of a tenth of the turns")
    print(f"{'turn':<20}", *(f"{part['turn']:>8.0f}" for part in parts), "  us a KB of history")
    print(f"{'KB of body':<20}", *(f"{part['bytes'] / 1024:>8.0f}" for part in parts))
    for name in grown:
        print(f"{name:<20}", *(f"{part[name]:>8.0f}" for part in parts), f"{grown[name]:>8.2f}")
    if options.json is not None:
        found = {"parts": parts, "us_per_kb": grown, "rows": rows, "load": os.getloadavg()}
        options.json.write_text(json.dumps(found, indent=1))
    if options.svg is not None:
        steepest = sorted((n for n in grown if n != "whole"), key=lambda n: -grown[n])[:6]
        options.svg.write_text(drawing(parts, ["whole", *steepest]))


if __name__ == "__main__":
    main()
