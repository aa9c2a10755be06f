"""fit(): make a prompt smaller as far as its recipe allows, or leave it exactly as it is.

Lossless, then trim, then compress, as far as needed to reach the target. Every result is
checked before it is returned; any doubt, exception or time limit gives the original. The
same input gives the same bytes, unless the time limit cuts in.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from compressor.checks import sound_edits
from compressor.compress import MODEL_S, compress
from compressor.condenser import model_of
from compressor.confidence import confidence
from compressor.conversation import Conversation
from compressor.json_tree import Gap
from compressor.kin import packaged_vectors
from compressor.kit import Kit
from compressor.lossless import squeeze
from compressor.measure import Measurement
from compressor.protect import OpenSpan, open_spans, pending_arguments
from compressor.recipe import Cut, Edit, Fitted, Recipe, Way
from compressor.relevance import Ranking, rank_pieces
from compressor.trim import Pieces, apply, choose, span_gaps, take_apart

log = logging.getLogger(__name__)

SURE = 0.65  # below it a trim is not trusted with the answer
ATTEMPTS = 8
LEAST_SAVED = 0.02  # of the prompt: less is not worth a changed prefix
BASE_LIMIT_MS = 150.0
LIMIT_MS_PER_1K = 1.0
MEMORY_MS_PER_1K = 8.0  # a memory is made once and kept, so its making may take longer
LOSSLESS_REACH = 0.3  # no lossless form brings a text below this share of its tokens
WALL_FACTOR = 6.0  # the same limit in waiting time, for a machine with other work


class _TooSlow(Exception):
    """The time limit passed; the original goes."""


@dataclass(frozen=True, slots=True)
class _Clock:
    """Ends when this thread has worked, or everybody has waited, for long enough; seconds.

    Work is what the limit is about: a busy machine makes a fit later, not useless.
    """

    work_end: float
    wall_end: float

    @classmethod
    def of(cls, limit_s: float) -> _Clock:
        return cls(time.thread_time() + limit_s, time.monotonic() + WALL_FACTOR * limit_s)

    def check(self) -> None:
        if time.thread_time() > self.work_end or time.monotonic() > self.wall_end:
            raise _TooSlow


@dataclass(frozen=True, slots=True)
class _Job:
    """One request with what it may use."""

    conversation: Conversation
    measurement: Measurement
    recipe: Recipe
    kit: Kit
    spans: tuple[OpenSpan, ...]
    clock: _Clock

    @property
    def total(self) -> int:
        return self.measurement.prompt_tokens

    def refuse(self, code: str, sure: float = 1.0) -> Fitted:
        return Fitted(Way.WHOLE, (), (), self.total, sure, code)


def fit(conversation: Conversation, measurement: Measurement, recipe: Recipe, kit: Kit) -> Fitted:
    """The edits that bring a prompt to ``recipe.target_tokens``, or a refusal without edits.

    Never raises. A prompt already small enough is left whole without a refusal. With
    ``recipe.widen_to`` a ranking too flat for the target is tried at that size first.
    Where only lossless is allowed, what it saves is taken even if the target is missed.
    """
    total = measurement.prompt_tokens
    if recipe.way is Way.WHOLE or total <= recipe.target_tokens:
        return Fitted(Way.WHOLE, (), (), total)
    try:
        packaged_vectors()  # read once in the life of the process, outside the time limit
        limit = recipe.time_limit_ms
        if limit is None:
            limit = BASE_LIMIT_MS + LIMIT_MS_PER_1K * total / 1000
        clock = _Clock.of(limit / 1000)
        keep = min(recipe.keep_recent, recipe.target_tokens // 2)
        spans = open_spans(conversation, kit.counter, keep)
        job = _Job(conversation, measurement, recipe, kit, spans, clock)
        return _by_ways(job)
    except _TooSlow:
        return Fitted(Way.WHOLE, (), (), total, refused="time_limit")
    except Exception:  # a fit may never cost a request
        log.exception("a fit failed; the prompt goes whole")
        return Fitted(Way.WHOLE, (), (), total, refused="failed")


def _by_ways(job: _Job) -> Fitted:
    """The mildest way that reaches the target."""
    way = job.recipe.way
    open_tokens = sum(span.tokens for span in job.spans)
    needed = job.total - job.recipe.target_tokens
    hopeless = needed > (1 - LOSSLESS_REACH) * open_tokens
    done = job.refuse("not_smaller") if hopeless and way is not Way.LOSSLESS else _lossless(job)
    if way is Way.LOSSLESS or (not done.refused and done.prompt_tokens <= job.recipe.target_tokens):
        return done
    # Memories of old turns stay the same from turn to turn; a trim follows each question
    # and would break the provider's cached prefix. So history is remembered first.
    in_history = job.measurement.document_tokens < needed
    done = job.refuse("not_smaller")
    for attempt in (_compress, _trim) if in_history else (_trim, _compress):
        if attempt is _trim or way is Way.COMPRESS:
            done = attempt(job)
            if not done.refused:
                return done
    return done


def _compress(job: _Job) -> Fitted:
    """Old turns as memories, or the last turn's document in short."""
    job.clock.check()
    in_time = _memory_clock(job).check
    squeezed = compress(job.conversation, job.measurement, job.recipe, job.kit, in_time)
    return squeezed if squeezed.refused else _checked(job, squeezed)


def _memory_clock(job: _Job) -> _Clock:
    """How long memories may take: as asked, else by size; a model that is fast has its own."""
    if job.recipe.time_limit_ms is not None:
        return job.clock
    if job.kit.model_inline and model_of(job.kit) is not None:
        return _Clock.of(MODEL_S)
    return _Clock.of((BASE_LIMIT_MS + MEMORY_MS_PER_1K * job.total / 1000) / 1000)


def _lossless(job: _Job) -> Fitted:
    """Every open text in a shorter form that says exactly the same."""
    edits: list[Edit] = []
    cuts: list[Cut] = []
    parts: dict[tuple[int, int], list[Gap]] = {}
    for number, span in enumerate(job.spans):
        job.clock.check()
        short = squeeze(span.body, job.kit.counter)
        if short is not None:
            parts.setdefault((span.message, span.part), []).append(Gap(span.start, span.end, short))
            saved = span.tokens - job.kit.counter.count(short)
            cuts.append(_cut(number, span, (span.start, span.end), saved, (Way.LOSSLESS, 1.0)))
    for span in job.spans:
        gaps = parts.pop((span.message, span.part), None)
        if gaps:
            edits.append(Edit(span.path, apply(span.text, gaps)))
    return _finished(job, Way.LOSSLESS, edits, cuts, 1.0)


def _trim(job: _Job) -> Fitted:
    """The pieces that the question needs, at the target or the widened one."""
    if not job.spans:
        return job.refuse("protected")
    found = take_apart(job.spans, job.kit.counter, _room(job))
    job.clock.check()
    asked = job.measurement.question
    searched = f"{asked}\n{pending_arguments(job.conversation)}"
    ranking = rank_pieces(found, searched, job.kit.ranker or job.kit.embedder, packaged_vectors())
    job.clock.check()
    targets = [job.recipe.target_tokens]
    if job.recipe.widen_to is not None and job.recipe.widen_to > targets[0]:
        targets.append(job.recipe.widen_to)
    done = job.refuse("protected")
    for target in targets:
        done = _trim_to(job, found, ranking, target)
        if done.refused != "flat_scores":
            break
    return done


def _room(job: _Job) -> int:
    """Tokens of the open texts that can stay at the target."""
    whole = sum(span.tokens for span in job.spans)
    return max(0, job.recipe.target_tokens - (job.total - whole))


def _trim_to(job: _Job, found: Pieces, ranking: Ranking, target: int) -> Fitted:
    whole = sum(span.tokens for span in job.spans)
    budget = target - (job.total - whole)
    for _ in range(ATTEMPTS):
        if budget <= 0:
            return job.refuse("protected")
        kept = choose(found, ranking.scores, budget)
        if not kept:
            return job.refuse("protected")
        gaps = [span_gaps(found, number, kept) for number in range(len(found.spans))]
        edits = _edits(found, gaps)
        size = _size(job, edits)
        if size <= target:
            sure = confidence(ranking, kept, job.measurement.question)
            if sure < SURE:
                return job.refuse("flat_scores", sure)
            cuts = _cuts(found, ranking, gaps)
            return _finished(job, Way.TRIM, edits, cuts, sure)
        budget -= max(16, size - target)
        job.clock.check()
    return job.refuse("not_smaller")


def _finished(
    job: _Job, way: Way, edits: Sequence[Edit], cuts: Sequence[Cut], sure: float
) -> Fitted:
    """The result, if it really is smaller and breaks nothing."""
    size = _size(job, edits)
    if not edits or size > job.total * (1 - LEAST_SAVED):
        return job.refuse("not_smaller", sure)
    return _checked(job, Fitted(way, tuple(edits), tuple(cuts), size, sure))


def _checked(job: _Job, fitted: Fitted) -> Fitted:
    """``fitted``, or a refusal when one of its edits touches what it must not."""
    if fitted.prompt_tokens >= job.total:
        return job.refuse("not_smaller")
    spans = job.spans if fitted.way in (Way.LOSSLESS, Way.TRIM) else None
    if not sound_edits(job.conversation, fitted.edits, spans):
        log.error("a %s fit broke a rule; the prompt goes whole", fitted.way.value)
        return job.refuse("failed")
    job.clock.check() if spans is not None else None
    return fitted


def _edits(found: Pieces, gaps: Sequence[Sequence[Gap]]) -> list[Edit]:
    """One edit a part that has gaps, in order."""
    texts = {(span.message, span.part): span for span in found.spans}
    merged: dict[tuple[int, int], list[Gap]] = {}
    for span, mine in zip(found.spans, gaps, strict=True):
        merged.setdefault((span.message, span.part), []).extend(mine)
    return [
        Edit(texts[key].path, apply(texts[key].text, own)) for key, own in merged.items() if own
    ]


def _size(job: _Job, edits: Sequence[Edit]) -> int:
    """Tokens of the prompt with ``edits`` made."""
    before = {span.path: span.text for span in job.spans}
    counter = job.kit.counter
    new = counter.count_many([edit.text for edit in edits])
    old = counter.count_many([before[edit.path] for edit in edits])
    return job.total + sum(new) - sum(old)


def _cuts(found: Pieces, ranking: Ranking, gaps: Sequence[Sequence[Gap]]) -> list[Cut]:
    """What each gap dropped: its tokens, and the score of its best piece."""
    cuts: list[Cut] = []
    at = 0
    for number, (span, mine) in enumerate(zip(found.spans, gaps, strict=True)):
        for gap in mine:
            tokens, score = 0, 0.0
            while at < len(found.pieces) and (
                found.pieces[at].span < number
                or (found.pieces[at].span == number and found.pieces[at].start < gap.end)
            ):
                piece = found.pieces[at]
                if piece.span == number and piece.start >= gap.start:
                    tokens += piece.tokens
                    score = max(score, float(ranking.scores[at]))
                at += 1
            place = (gap.start, gap.end)
            cuts.append(_cut(number, span, place, tokens, (Way.TRIM, min(1.0, round(score, 4)))))
    return cuts


def _cut(
    number: int, span: OpenSpan, place: tuple[int, int], tokens: int, how: tuple[Way, float]
) -> Cut:
    start, end = place
    piece = span.text[start:end].encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(piece).hexdigest()
    return Cut(span.message, number, span.path, start, end, tokens, *how, digest)
