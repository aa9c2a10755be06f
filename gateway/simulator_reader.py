"""A simulated model that reads well up to a planted length, and beyond it less and less.

It answers the questions of `weir probe` as a model does that knows what they mean, so that
a probe can be checked against a truth that is known. Beyond its length a wrong answer comes
with a chance that starts at 30% and is certain at twice the length; within it with the chance
that was planted as noise. The same prompt gets the same answer always.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from router.probe_tasks import people, semantic_pairs

FIRST_SLIP = 0.3
_ASKED = re.compile(r"\n\nQuestion: (.+)\nAnswer from the notes alone[^\n]*\s*$")
_CODE = re.compile(r"The entry code of the ([\w ]+) in ([\w ]+) is (\d+)\.")
_DEPOT = re.compile(r"The depot in ([\w ]+) took delivery of ([\w ]+) this season\.")


def answer_from_notes(
    prompt: str, prompt_tokens: int, reads: Mapping[str, int], noise: float = 0.0
) -> str | None:
    """What the model says to a probe's question; None for any other prompt.

    Args:
        reads: tokens up to which it reads well, by kind (literal, semantic, multi).
        noise: share of wrong answers within that length, 0 to 1.
    """
    asked = _ASKED.search(prompt)
    if asked is None:
        return None
    question, notes = asked.group(1), prompt[: asked.start()]
    for kind, read in (("literal", _literal), ("semantic", _semantic), ("multi", _multi)):
        found = read(question, notes)
        if found is not None:
            right, wrong = found
            beyond = prompt_tokens / reads[kind] - 1 if kind in reads else 0.0
            slips = _slips(prompt, beyond, noise)
            return wrong if slips else right
    return None


def _slips(prompt: str, beyond: float, noise: float) -> bool:
    chance = max(noise, FIRST_SLIP + (1 - FIRST_SLIP) * beyond) if beyond > 0 else noise
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") < chance * 2**64


def _literal(question: str, notes: str) -> tuple[str, str] | None:
    if "entry code" not in question:
        return None
    codes = {f"the {store} in {place}": code for store, place, code in _CODE.findall(notes)}
    right = next((code for where, code in codes.items() if where in question), None)
    others = [code for code in codes.values() if code != right]
    return f"The code is {right}.", f"The code is {others[0] if others else 'not given'}."


def _semantic(question: str, notes: str) -> tuple[str, str] | None:
    fact = next((fact for fact, asked in semantic_pairs() if asked == question), None)
    if fact is None:
        return None
    named = [name for name in people() if name in notes]
    told = fact.removeprefix("{name}")
    right = next((name for name in named if name + told in notes), "nobody")
    return f"{right}.", f"{next((n for n in named if n != right), 'nobody')}."


def _multi(question: str, notes: str) -> tuple[str, str] | None:
    wanted = re.search(r"took delivery of (.+) this season", question)
    if wanted is None:
        return None
    places = [place for place, goods in _DEPOT.findall(notes) if goods == wanted.group(1)]
    return ", ".join(places) + ".", ", ".join(places[:-1]) + "."
