"""Writes billing/data/prices.jsonl from the installed genai-prices package.

Usage: python scripts/snapshot_prices.py [--check] [--out PATH]

One JSON line a provider, so that serving parses only the providers it prices. The first
line says which package version it came from. ``--check`` compares instead of writing.
A snapshot that drops more than a tenth of the models is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from datetime import UTC, time
from importlib.metadata import version
from pathlib import Path

from genai_prices import types as source
from genai_prices.data import providers
from genai_prices.data_units import unit_data

TARGET = Path(__file__).parent.parent / "billing" / "data" / "prices.jsonl"
COMPONENTS = {
    "output_reasoning": "reasoning",
    "web_searches": "tool_call:web_search",
    "storage_searches": "tool_call:file_search",
    "requests": "request",
    # Durations are not tokens: a name of their own keeps one's rate off the other's count.
    "audio_hours": "second",
    "input_audio_hours": "input_second",
    "output_audio_hours": "output_second",
}
CLAUSES = {
    "eq": (source.ClauseEquals, "equals"),
    "start": (source.ClauseStartsWith, "starts_with"),
    "end": (source.ClauseEndsWith, "ends_with"),
    "in": (source.ClauseContains, "contains"),
    "re": (source.ClauseRegex, "regex"),
    "or": (source.ClauseOr, "or_"),
    "and": (source.ClauseAnd, "and_"),
}
LEAST_KEPT = 0.9


def component(price_key: str) -> tuple[str, int]:
    """The component name of a price key and how many of its units make a million."""
    per = {unit["price_key"]: unit["per"] for unit in unit_data.values()}[price_key]
    name = COMPONENTS.get(price_key, price_key.rsplit("_", 1)[0])
    return COMPONENTS.get(name, name), 1_000_000 // per


def plain(value: object, times: int) -> str:
    """A rate in USD per million units as plain decimal text."""
    text = f"{value * times:f}"  # type: ignore[operator]
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(value: object, times: int) -> object:
    """A flat rate as text, a stepped one as [base, [start, ">" or ">=", rate], ...]."""
    if not isinstance(value, source.TieredPrices):
        return plain(value, times)
    steps: list[object] = [plain(value.base, times)]
    for tier in value.tiers:
        inclusive = tier.start % 1000 == 999
        start = tier.start + 1 if inclusive else tier.start
        steps.append([start, ">=" if inclusive else ">", plain(tier.price, times)])
    return steps


def rates(prices: source.ModelPrice) -> dict[str, object]:
    """Every listed component of one price."""
    found = {}
    for key, value in sorted(prices.__dict__.items()):
        if value is not None:
            name, times = component(key)
            found[name] = rate(value, times)
    return found


def minute(value: time) -> int:
    """Minutes after midnight UTC."""
    assert value.second == 0
    assert value.tzinfo in (None, UTC)
    return value.hour * 60 + value.minute


def constraint(value: object) -> dict[str, object]:
    """When a price applies: from a UTC date, or between two UTC minutes of the day."""
    match value:
        case None:
            return {}
        case source.StartDateConstraint(start_date=start):
            return {"from": start.isoformat()}
        case source.TimeOfDateConstraint(start_time=start, end_time=end):
            return {"minutes": [minute(start), minute(end)]}
    raise TypeError(value)


def clause(value: object) -> list[object]:
    """A match rule as a nested list."""
    for kind, (leaf, attribute) in CLAUSES.items():
        if isinstance(value, leaf):
            held = getattr(value, attribute)
            if kind in ("or", "and"):
                return [kind, [clause(part) for part in held]]
            return [kind, held if kind == "re" else held.lower()]
    raise TypeError(value)


def model(info: source.ModelInfo) -> dict[str, object]:
    """One model: how its name is matched, its prices in order, its variants."""
    listed = info.prices
    if isinstance(listed, source.ModelPrice):
        listed = [source.ConditionalPrice(prices=listed)]
    row: dict[str, object] = {
        "id": info.id,
        "match": clause(info.match),
        "prices": [{**constraint(p.constraint), "rates": rates(p.prices)} for p in listed],
    }
    if info.price_variants:
        row["variants"] = [
            {"when": v.when, **constraint(v.constraint), "rates": rates(v.prices)}
            for v in info.price_variants
        ]
    if info.context_window:
        row["window"] = info.context_window
    return row


def snapshot() -> str:
    """The whole file."""
    lines = []
    for provider in sorted(providers, key=lambda p: p.id):
        row = {
            "provider": provider.id,
            "fallback": provider.fallback_model_providers or [],
            "models": [model(info) for info in provider.models],
        }
        lines.append(json.dumps(row, separators=(",", ":"), ensure_ascii=False))
    body = "\n".join(lines) + "\n"
    head = {
        "package": "genai-prices",
        "version": version("genai-prices"),
        "models": sum(len(provider.models) for provider in providers),
        "sha256": hashlib.sha256(body.encode()).hexdigest(),
    }
    return json.dumps(head, separators=(",", ":")) + "\n" + body


def main() -> int:
    """Write or compare the snapshot; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    text = snapshot()
    old = options.out.read_text(encoding="utf-8") if options.out.exists() else ""
    if options.check:
        print("same" if text == old else "different: run scripts/snapshot_prices.py")
        return int(text != old)
    before = json.loads(old.split("\n", 1)[0])["models"] if old else 0
    now = json.loads(text.split("\n", 1)[0])["models"]
    if now < LEAST_KEPT * before:
        print(f"refused: {now} models, {before} before", file=sys.stderr)
        return 1
    options.out.write_text(text, encoding="utf-8")
    print(f"{now} models, {len(text)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
