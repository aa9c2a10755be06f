"""Segment memory: the past of a conversation, remembered in fewer words.

Old segments of history (compressor/history.py) become memories, each at most ``ratio``
times smaller, kept by content hash, the same bytes in every later turn. Recent tokens,
the question and everything protected stay at full resolution. Where that is not enough,
the document of a huge last turn is condensed section by section, its question whole.

Only texts at paths are replaced, so every message, role and tool-call pair stays.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from compressor.condenser import Condenser
from compressor.conversation import Conversation, PartKind, Path
from compressor.document import condense_sections, share, turn_sections
from compressor.expand import expanded, remember
from compressor.history import History, Segment, closings, newest_mark, past
from compressor.kit import Kit
from compressor.measure import Measurement
from compressor.memory import memory_key
from compressor.recipe import Cut, Edit, Fitted, Recipe, Way
from compressor.summarize import Extract

WEIGHTS = {"user": 1.5, "assistant": 1.0}  # what people asked for outlives what tools said
TOOL_WEIGHT = 0.7
CHILDREN = 8  # memories that become one parent
PARENT_RATIO = 4.0
MODEL_S = 20.0  # a model may write memories for so long in one request, then extracts are made


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One text of the body rewritten; ``dropped`` are spans of ``before``."""

    message: int
    segment: int
    path: Path
    before: str
    after: str
    dropped: tuple[tuple[int, int], ...]
    score: float


def _unhurried() -> None:
    """No time limit."""


def compress(
    conversation: Conversation,
    measurement: Measurement,
    recipe: Recipe,
    kit: Kit,
    in_time: Callable[[], None] = _unhurried,
) -> Fitted:
    """Reach the recipe's target by condensing the past, the oldest of it first.

    ``in_time`` is called between pieces of work and raises where the time is over; what is
    remembered by then stays in the kit's memory, so that the next turn goes on from there.

    Refuses with ``protected`` where neither the target nor ``widen_to`` can be met without
    touching what may not be touched, with ``not_smaller`` where condensing gains nothing.
    The same history gives the same bytes in the next turn, until it has doubled or the target
    asks for more.
    """
    if measurement.prompt_tokens <= recipe.target_tokens:
        return Fitted(Way.WHOLE, (), (), measurement.prompt_tokens)
    if recipe.ratio <= 1.0:
        return _refusal(measurement, "not_smaller")
    fitted = _Work(conversation, measurement, recipe, kit, in_time).fitted()
    if fitted.refused is not None:
        return fitted
    in_time()
    found = expanded(conversation, measurement, recipe, fitted, kit)
    remember(conversation, fitted, kit)
    return found


def precompute(
    conversation: Conversation,
    measurement: Measurement,
    recipe: Recipe,
    kit: Kit,
    in_time: Callable[[], None] = _unhurried,
) -> None:
    """Make the memories that the next turn will need, after a response, when nobody waits.

    Also of the segment that is full and still among the recent tokens. A slow summariser is
    asked here, and here alone; a memory that was sent already stays as it is.
    """
    if kit.memory is None or recipe.ratio <= 1.0:
        return
    work = _Work(conversation, measurement, recipe, replace(kit, model_inline=True), in_time)
    work.remember_ahead()


def _refusal(measurement: Measurement, code: str) -> Fitted:
    return Fitted(Way.WHOLE, (), (), measurement.prompt_tokens, refused=code)


class _Work:
    """One call of ``compress``."""

    def __init__(
        self,
        conversation: Conversation,
        measurement: Measurement,
        recipe: Recipe,
        kit: Kit,
        in_time: Callable[[], None],
    ) -> None:
        self._conversation, self._measurement = conversation, measurement
        self._recipe, self._kit, self._check = recipe, kit, in_time
        self._condenser = Condenser(kit)
        self._plain = Condenser(replace(kit, summarizer=None))
        self._model_end_s = time.monotonic() + MODEL_S

    def fitted(self) -> Fitted:
        history = past(self._conversation, self._measurement, self._recipe)
        if not self._can_reach(history):
            return _refusal(self._measurement, "protected")
        rewrites = self._remembered(history)
        total = self._total(rewrites)
        if total > self._recipe.target_tokens:
            rewrites = self._parents(history.closed, rewrites)
            total = self._total(rewrites)
        if total > self._recipe.target_tokens and history.open_:
            rewrites += self._memories(history.open_, self._recipe.ratio)
            total = self._total(rewrites)
        if total > self._recipe.target_tokens:
            rewrites += self._document(self._recipe.target_tokens - total)
            total = self._total(rewrites)
        if total > max(self._recipe.target_tokens, self._recipe.widen_to or 0):
            return _refusal(self._measurement, "protected")
        if total >= self._measurement.prompt_tokens:
            return _refusal(self._measurement, "not_smaller")
        edits = tuple(Edit(rewrite.path, rewrite.after) for rewrite in rewrites)
        return Fitted(Way.COMPRESS, edits, self._cuts(rewrites), total)

    def remember_ahead(self) -> None:
        """Every full segment's memory is in the store."""
        self._model_end_s = float("inf")
        history = past(self._conversation, self._measurement, self._recipe, ahead=True)
        self._memories(history.closed, self._recipe.ratio)

    def _can_reach(self, history: History) -> bool:
        """Whether the target could be met if everything that may shrink were gone."""
        segments = (*history.closed, *history.open_)
        texts = [item.text for segment in segments for item in segment.items]
        loose = sum(self._kit.counter.count_many(texts))
        loose += self._measurement.document_tokens
        most = max(self._recipe.target_tokens, self._recipe.widen_to or 0)
        return self._measurement.prompt_tokens - loose <= most

    def _remembered(self, history: History) -> list[Rewrite]:
        """Memories of the oldest segments: as few as meet the target, all where none do.

        The same segments as in the turn before, mostly (``closings``), so that what is sent
        begins with the same bytes; the ratio never changes, so that a memory never does.
        """
        rewrites: list[Rewrite] = []
        done = 0
        for count in closings(len(history.closed)):
            rewrites += self._memories(history.closed[done:count], self._recipe.ratio)
            done = count
            if self._total(rewrites) <= self._recipe.target_tokens:
                break
        return rewrites

    def _parents(self, segments: Sequence[Segment], rewrites: Sequence[Rewrite]) -> list[Rewrite]:
        """The oldest memories, eight at a time, remembered once more, until the target is met.

        Only whole groups of eight, counted from the start, so that a parent stays the same
        for as long as the conversation lasts.
        """
        found = {rewrite.path: rewrite for rewrite in rewrites}
        for first in range(0, len(segments) - CHILDREN + 1, CHILDREN):
            if self._total(list(found.values())) <= self._recipe.target_tokens:
                break
            self._check()
            group = segments[first : first + CHILDREN]
            for rewrite in self._parent(group):
                found[rewrite.path] = rewrite
        return list(found.values())

    def _parent(self, group: Sequence[Segment]) -> list[Rewrite]:
        """The texts of eight segments, each a memory of its memory."""
        rows = [
            (segment.number, item, extract)
            for segment in group
            if segment.items
            for item, extract in zip(
                segment.items, self._memory(segment, self._recipe.ratio), strict=True
            )
        ]
        texts = [extract.text for *_, extract in rows]
        key = memory_key(texts, self._plain.name, f"parent {PARENT_RATIO:.3f}")
        made = self._known(key, texts)
        if made is None:
            roles = [item.role for _, item, _ in rows]
            weights = [WEIGHTS.get(role, TOOL_WEIGHT) for role in roles]
            made = self._plain.condense(texts, PARENT_RATIO, weights)
            self._store(key, made)
        return [
            Rewrite(
                message=item.message,
                segment=number,
                path=item.path,
                before=item.text,
                after=parent.text,
                dropped=((0, len(item.text)),),
                score=parent.score,
            )
            for (number, item, _), parent in zip(rows, made, strict=True)
            if parent.text != item.text
        ]

    def _memories(self, segments: Sequence[Segment], ratio: float) -> list[Rewrite]:
        rewrites: list[Rewrite] = []
        for segment in segments:
            if not segment.items:
                continue
            self._check()
            for item, extract in zip(segment.items, self._memory(segment, ratio), strict=True):
                if extract.text != item.text:
                    rewrites.append(
                        Rewrite(
                            message=item.message,
                            segment=segment.number,
                            path=item.path,
                            before=item.text,
                            after=extract.text,
                            dropped=extract.dropped,
                            score=extract.score,
                        )
                    )
        return rewrites

    def _memory(self, segment: Segment, ratio: float) -> list[Extract]:
        """The segment's memory, from the store where it is known, else made and stored.

        An extract that was made because time was over stays: its bytes have been sent.
        """
        texts = [item.text for item in segment.items]
        roles = [
            "tool" if item.kind is PartKind.TOOL_RESULT else item.role for item in segment.items
        ]
        for maker in (self._condenser, self._plain):
            known = self._known(memory_key([*texts, *roles], maker.name, f"{ratio:.3f}"), texts)
            if known is not None:
                return known
        maker = self._in_time()
        made = maker.condense(texts, ratio, [WEIGHTS.get(role, TOOL_WEIGHT) for role in roles])
        self._store(memory_key([*texts, *roles], maker.name, f"{ratio:.3f}"), made)
        return made

    def _store(self, key: str, made: Sequence[Extract]) -> None:
        if self._kit.memory is not None:
            text = json.dumps([[one.text, one.dropped, one.score] for one in made])
            self._kit.memory.put(key, text)

    def _known(self, key: str, texts: Sequence[str]) -> list[Extract] | None:
        stored = self._kit.memory.get(key) if self._kit.memory is not None else None
        return _decoded(stored, texts) if stored is not None else None

    def _in_time(self) -> Condenser:
        """Who condenses: with the kit's summariser, or without it once its time is over."""
        if self._kit.model_inline and time.monotonic() < self._model_end_s:
            return self._condenser
        return self._plain

    def _document(self, missing: int) -> list[Rewrite]:
        """The last human turn's document made smaller by ``-missing`` tokens, or nothing."""
        last = self._conversation.last_human()
        if last is None:
            return []
        message = self._conversation.messages[last]
        mark = newest_mark(self._conversation.messages)
        sections = [
            section
            for section in turn_sections(message, self._kit.counter)
            if message.parts[section.part].path is not None
            and (mark is None or (last, section.part) > mark)
        ]
        budget = sum(section.tokens for section in sections) + missing
        question = self._measurement.question
        limits = share(sections, budget, self._recipe.ratio, question) if sections else None
        if limits is None:
            return []
        self._check()
        rewrites = []
        made = condense_sections(message, sections, limits, (self._in_time(), question))
        for condensed in made:
            part = message.parts[condensed.part]
            if part.path is not None and condensed.text != part.text:
                rewrites.append(
                    Rewrite(
                        message=last,
                        segment=0,
                        path=part.path,
                        before=part.text,
                        after=condensed.text,
                        dropped=condensed.dropped,
                        score=condensed.score,
                    )
                )
        return rewrites

    def _total(self, rewrites: Sequence[Rewrite]) -> int:
        """Prompt tokens with ``rewrites`` carried out."""
        count = self._kit.counter.count_many
        before = sum(count([rewrite.before for rewrite in rewrites]))
        after = sum(count([rewrite.after for rewrite in rewrites]))
        return self._measurement.prompt_tokens - before + after

    def _cuts(self, rewrites: Sequence[Rewrite]) -> tuple[Cut, ...]:
        cuts = []
        for rewrite in rewrites:
            for start, end in rewrite.dropped:
                lost = rewrite.before[start:end]
                cuts.append(
                    Cut(
                        message=rewrite.message,
                        segment=rewrite.segment,
                        path=rewrite.path,
                        start=start,
                        end=end,
                        tokens=self._kit.counter.count(lost),
                        way=Way.COMPRESS,
                        score=rewrite.score,
                        sha256=hashlib.sha256(lost.encode("utf-8", "surrogatepass")).hexdigest(),
                    )
                )
        return tuple(cuts)


def _decoded(stored: str, texts: Sequence[str]) -> list[Extract] | None:
    """A stored memory, or None if it does not fit ``texts``."""
    try:
        rows = json.loads(stored)
        extracts = [
            Extract(str(text), tuple((int(a), int(b)) for a, b in dropped), float(score))
            for text, dropped, score in rows
        ]
    except (ValueError, TypeError):
        return None
    if len(extracts) != len(texts):
        return None
    for text, extract in zip(texts, extracts, strict=True):
        if any(not 0 <= a < b <= len(text) for a, b in extract.dropped):
            return None
    return extracts
