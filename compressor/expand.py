"""What was left out comes back when a later question needs it.

The memories of old turns stay byte for byte as they were sent, so that the provider's cached
prefix holds; what the question asks for and they left out is put behind the newest human
text, as marked data, at the prompt's end. That text itself stays whole, and the next turn
finds it in the provider's cache.

Two sources: what this fit drops (clients send their whole history each turn), and what was
dropped in earlier turns of the session and is no longer sent at all, kept in the team's memory
for as long as that keeps anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log

from compressor.conversation import Conversation, PartKind, Path
from compressor.kit import Kit, Memory
from compressor.measure import Measurement
from compressor.memory import memory_key
from compressor.recipe import Cut, Edit, Fitted, Recipe, Way
from compressor.shelf import Shelf, Units
from compressor.text import Words

ROOM_TOKENS = 1_024  # brought back at most
LEAST_SHARE = 0.5  # of the question's weight that a passage must hold
LEAST_TERMS = 2  # different words of the question in it
AROUND = 1  # units before and after a hit that come with it
KEPT_PIECES = 200  # of one session
KEPT_CHARS = 400_000
MARK_TOKENS = 16
OPEN, CLOSE = "[Earlier in this conversation{where}: ", "]"


@dataclass(frozen=True, slots=True)
class Passage:
    """A dropped text and the number of the message it stood in, None where that is gone."""

    text: str
    message: int | None


def expanded(
    conversation: Conversation,
    measurement: Measurement,
    recipe: Recipe,
    fitted: Fitted,
    kit: Kit,
) -> Fitted:
    """``fitted`` with the passages that the newest question needs put behind it.

    Unchanged where nothing matches, where the newest message is no human text that may be
    added to, or where there is no room under the recipe's target.
    """
    place = _place(conversation, fitted)
    room = max(recipe.target_tokens, recipe.widen_to or 0) - fitted.prompt_tokens
    room = min(ROOM_TOKENS, room, measurement.prompt_tokens // 50)
    if place is None or room < 4 * MARK_TOKENS or not measurement.question.strip():
        return fitted
    path, asked = place
    dropped = _dropped(conversation, fitted.cuts)
    passages = [*dropped, *_remembered(conversation, kit, dropped)]
    found = _chosen(passages, measurement.question, room, kit)
    if not found:
        return fitted
    text = asked + "\n\n" + "\n".join(found)
    before, after = kit.counter.count_many([asked, text])
    total = fitted.prompt_tokens + after - before
    if total >= measurement.prompt_tokens:
        return fitted
    return replace(fitted, edits=(*fitted.edits, Edit(path, text)), prompt_tokens=total)


def remember(conversation: Conversation, fitted: Fitted, kit: Kit) -> None:
    """Keep what a fit dropped for the session's later turns, the newest first, bounded."""
    if kit.memory is None or not kit.session or not fitted.cuts:
        return
    known = [] if (stored := kit.memory.get(_key(kit.session))) is None else _read(stored)
    fresh = [passage.text for passage in _dropped(conversation, fitted.cuts)]
    texts = list(dict.fromkeys([*reversed(fresh), *known]))[:KEPT_PIECES]
    size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size > KEPT_CHARS:
            texts = texts[:number]
            break
    kit.memory.put(_key(kit.session), json.dumps(texts))


def _key(session: str) -> str:
    return memory_key([session], "dropped", "1")


def _read(stored: str) -> list[str]:
    try:
        found = json.loads(stored)
    except ValueError:
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []


def _remembered(conversation: Conversation, kit: Kit, dropped: Sequence[Passage]) -> list[Passage]:
    """What earlier turns of the session dropped and this request no longer holds."""
    memory: Memory | None = kit.memory
    stored = memory.get(_key(kit.session)) if memory is not None and kit.session else None
    if stored is None:
        return []
    here = {passage.text for passage in dropped}  # mostly the same passages, turn by turn
    texts = [part.text for message in conversation.messages for part in message.parts]
    return [
        Passage(text, None)
        for text in _read(stored)
        if text not in here and not any(text in whole for whole in texts)
    ]


def _place(conversation: Conversation, fitted: Fitted) -> tuple[Path, str] | None:
    """Where to put it: the newest message's last text, if that is a human's and untouched."""
    if not conversation.messages or fitted.refused is not None:
        return None
    newest = conversation.messages[-1]
    if newest.role != "user":
        return None
    part = newest.parts[-1] if newest.parts else None
    if part is None or part.kind is not PartKind.TEXT or part.path is None or part.cache_mark:
        return None
    if any(edit.path == part.path for edit in fitted.edits):
        return None
    return part.path, part.text


def _dropped(conversation: Conversation, cuts: Sequence[Cut]) -> list[Passage]:
    texts = {
        part.path: part.text
        for message in conversation.messages
        for part in message.parts
        if part.path is not None
    }
    return [
        Passage(texts[cut.path][cut.start : cut.end], cut.message)
        for cut in cuts
        if cut.path in texts and cut.way is not Way.LOSSLESS
    ]


def _chosen(passages: Sequence[Passage], question: str, room: int, kit: Kit) -> list[str]:
    """The best passages as marked lines, in the order in which they were said."""
    wanted = Words().query(question)
    shelf = kit.shelves.shelf(kit.session) if kit.shelves is not None else Shelf()
    units = shelf.units([passage.text for passage in passages], wanted)
    weights = _weights(wanted, units)
    total = sum(weights.values())
    held: dict[int, list[str]] = {}
    for term in sorted(wanted):
        for number in units.holders[term]:
            held.setdefault(number, []).append(term)
    scored = [
        (sum(weights[term] for term in terms), number)
        for number, terms in held.items()
        if len(terms) >= min(LEAST_TERMS, len(wanted))
    ]
    good = [(score, number) for score, number in scored if score >= LEAST_SHARE * total]
    kept: dict[int, set[int]] = {}
    for _, number in sorted(good, key=lambda pair: (-pair[0], pair[1])):
        own = units.text[number]
        near = range(max(0, number - AROUND), min(len(units.text), number + AROUND + 1))
        tried = {
            **kept,
            own: kept.get(own, set()) | {n for n in near if units.text[n] == own},
        }
        lines = _lines(passages, units, tried)
        if sum(kit.counter.count_many(lines)) + 2 * len(lines) > room:
            break
        kept = tried
    return _lines(passages, units, kept)


def _weights(wanted: Mapping[str, float], units: Units) -> dict[str, float]:
    """What each word of the question is worth: the rarer, the more; an absent one counts too."""
    count = len(units.text)
    return {
        term: weight * log(1 + (count + 1) / (len(units.holders[term]) + 1))
        for term, weight in wanted.items()
    }


def _lines(passages: Sequence[Passage], units: Units, kept: Mapping[int, set[int]]) -> list[str]:
    lines = []
    for number in sorted(kept):
        passage = passages[number]
        where = "" if passage.message is None else f", message {passage.message + 1}"
        pieces, before = [], None
        for at in sorted(kept[number]):
            if before is not None and at != before + 1:
                pieces.append("…")
            start, end = units.bounds[at]
            pieces.append(passage.text[start:end])
            before = at
        lines.append(OPEN.format(where=where) + " ".join(pieces) + CLOSE)
    return lines
