"""What a turn of a growing conversation costs: measuring it, and compressing what is old.

Usage: python -m benchmarks.growing [--turns 200]

The same conversation turn by turn, once reading all that was dropped anew each turn, once with
what was read kept on a shelf (compressor/shelf.py); results must be equal. CPU time, ms; a turn
in which a segment of history closes also makes its memory, which the gateway does after the
answer of the turn before.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from itertools import pairwise

from benchmarks.lag import prose
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.fit import fit
from compressor.kin import packaged_vectors
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.recipe import Recipe, Way
from compressor.shelf import Shelves
from compressor.summarize import ExtractiveSummarizer
from compressor.tokens import load_counter


def main() -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--turns", type=int, default=200)
    options = parser.parse_args()
    packaged_vectors()
    rng, counter = random.Random(5), load_counter("o200k_base")
    rule = media_rule("openai_tiles")
    kits = [
        Kit(
            counter,
            summarizer=ExtractiveSummarizer(None),
            memory=MemoryStore(time.monotonic).for_team("t"),
            session="s",
            shelves=shelves,
        )
        for shelves in (None, Shelves().for_team("t"))
    ]
    said: list[Message] = []
    print(f"{'turn':>5} {'tokens':>8} {'measure':>8} {'anew':>8} {'shelf':>8}  ms of CPU")
    for turn in range(options.turns):
        asked = f"What was the viaduct near turbine {rng.randint(1, 999)} sold for?"
        for role, text in (("user", asked), ("assistant", prose(rng, 950))):
            part = Part(PartKind.TEXT, text, ("messages", len(said), "content"))
            said.append(Message(role, (part,)))
        conversation = Conversation(tuple(said[:-1]))
        took = [time.thread_time()]
        measured = measure(conversation, counter, rule)
        took.append(time.thread_time())
        recipe = Recipe(Way.COMPRESS, max(8_000, measured.prompt_tokens // 4))
        found = []
        for kit in kits:
            found.append(fit(conversation, measured, recipe, kit))
            took.append(time.thread_time())
        assert found[0] == found[1]
        if turn % 20 == 19 or turn == options.turns - 1:
            spent = [f"{(b - a) * 1000:8.1f}" for a, b in pairwise(took)]
            print(f"{turn + 1:5} {measured.prompt_tokens:8}", *spent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
