"""Long documents with one planted passage, made the same way each time."""

from __future__ import annotations

import json
import random

_NOUNS = (
    "harbour", "turbine", "archive", "glacier", "orchard", "ledger", "compass", "viaduct",
    "reservoir", "foundry", "almanac", "lighthouse", "quarry", "granary", "observatory",
    "cathedral", "tannery", "shipyard", "aqueduct", "mill", "brewery", "depot", "museum",
    "station", "bridge", "tunnel", "canal", "mine", "forest", "vineyard", "meadow",
    "island", "valley", "library", "school",
)  # fmt: skip
_VERBS = (
    "restored", "measured", "surveyed", "abandoned", "extended", "repaired", "catalogued",
    "flooded", "inspected", "painted", "sold", "drained", "rebuilt", "leased", "mapped",
    "sealed", "opened", "insured", "photographed", "dismantled",
)  # fmt: skip
_NAMES = (
    "Aldous", "Brigitte", "Casimir", "Dorothea", "Eskil", "Fenella", "Gideon", "Hanneke",
    "Isidor", "Jolanda", "Kasper", "Liesel", "Magnus", "Nadine", "Osric", "Petra",
    "Quentin", "Rosalind", "Sverre", "Tilda", "Ulrich", "Valeria", "Wendel", "Xenia",
    "Yorick",
)  # fmt: skip

PASSAGE = (
    "The emergency valve of the Thistlewood pumping station was replaced by Ingrid Halvorsen on "
    "14 March 1987, and the serial number of the new valve is TW-58213."
)
QUESTION = "Which serial number does the emergency valve at the Thistlewood pumping station bear?"
FACT = "TW-58213"


def paragraph(rng: random.Random) -> str:
    """Four sentences that no other paragraph repeats."""
    sentences = []
    for _ in range(4):
        name, other = rng.sample(_NAMES, 2)
        first, second = rng.sample(_NOUNS, 2)
        sentences.append(
            f"In {rng.randint(1700, 1999)} the {first} of {name} {rng.choice(_NAMES)} was "
            f"{rng.choice(_VERBS)} for {rng.randint(100, 99999)} crowns, while {other} kept the "
            f"{second} {rng.choice(_VERBS)} until the {rng.choice(_NOUNS)} was "
            f"{rng.choice(_VERBS)}."
        )
    return " ".join(sentences)


def prose(paragraphs: int = 640, seed: int = 1) -> str:
    """About 140 tokens a paragraph; the passage stands two thirds down."""
    rng = random.Random(seed)
    rows = [paragraph(rng) for _ in range(paragraphs)]
    rows.insert(paragraphs * 2 // 3, PASSAGE)
    return "\n\n".join(rows)


def records(count: int = 1500, seed: int = 2) -> str:
    """Key-value JSON, about 60 tokens a record; one of them is the passage's."""
    rng = random.Random(seed)
    rows = {}
    for n in range(count):
        rows[f"asset-{n:05d}"] = {
            "place": f"{rng.choice(_NAMES)} {rng.choice(_NOUNS)}",
            "state": rng.choice(_VERBS),
            "serial": f"{rng.choice(_NAMES)[:2].upper()}-{rng.randint(10000, 99999)}",
            "cost": rng.randint(100, 99999),
        }
        if n == count * 2 // 3:
            rows["thistlewood-valve"] = {
                "place": "Thistlewood pumping station",
                "state": "replaced",
                "part": "emergency valve",
                "serial": FACT,
                "cost": 1250,
            }
    lines = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items())
    return "{\n" + ",\n".join(lines) + "\n}"


def ask(document: str, question: str = QUESTION, model: str = "gpt-6.1-sol") -> dict[str, object]:
    """A request about a document."""
    text = f"{document}\n\n{question}"
    return {"model": model, "messages": [{"role": "user", "content": text}]}
