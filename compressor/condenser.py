"""One text made smaller by whatever suits it: a summary, an extract, or smaller JSON.

Prose goes to the summariser, if there is one, and its answer is used only when it is
faithful and really smaller; code, logs and tables keep whole lines; JSON stays JSON.
A condensed text is never larger than the original: then it is the original.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressor.condense import condense_json, is_json, parse_json
from compressor.faithful import unsupported
from compressor.kit import Kit, Summarizer
from compressor.summarize import Extract, ExtractiveSummarizer
from compressor.units import is_lines

VERSION = "1"
PROSE_TOKENS = 160  # a shorter text is not worth a model's summary
GROUP_TOKENS = 8_192  # texts that share one budget
SUMMARY_STEP = 16  # summaries are asked for in multiples of it, so that they batch


class Condenser:
    """Makes texts smaller with what a kit has; deterministic if its summariser is."""

    def __init__(self, kit: Kit) -> None:
        self._counter = kit.counter
        self._extractive = ExtractiveSummarizer(kit.embedder, kit.counter)
        self._model = model_of(kit)
        maker = self._extractive.name if self._model is None else self._model.name
        self.name = f"{maker}/{VERSION}/{kit.counter.name}"

    def condense(
        self, texts: Sequence[str], ratio: float, weights: Sequence[float], question: str = ""
    ) -> list[Extract]:
        """Each text in fewer words; together about ``ratio`` times smaller, never more.

        Short texts, code and logs share one budget, which goes where the substance is;
        JSON and what a model summarises have one of their own, by their size.
        """
        counts = self._counter.count_many(texts)
        results = [Extract(text, (), 0.0) for text in texts]
        shared: list[int] = []
        alone: list[int] = []
        for at, (text, tokens) in enumerate(zip(texts, counts, strict=True)):
            if is_json(text):
                results[at] = self._json(text, _limit(tokens, ratio))
            elif self._model is not None and tokens >= PROSE_TOKENS and not is_lines(text):
                alone.append(at)
            else:
                shared.append(at)
        limits = [_limit(counts[at], ratio) for at in alone]
        for at, summary in zip(
            alone, self.summaries([texts[at] for at in alone], limits, question), strict=True
        ):
            results[at] = summary
        for group in _groups(shared, counts):
            extracts = self._extractive.extract(
                [texts[at] for at in group],
                _limit(sum(counts[at] for at in group), ratio),
                question,
                [weights[at] for at in group],
            )
            for at, extract in zip(group, extracts, strict=True):
                results[at] = extract
        return self._smaller(texts, counts, results)

    def condense_to(
        self, texts: Sequence[str], limits: Sequence[int], question: str
    ) -> list[Extract]:
        """Each text within its own limit of tokens, read with ``question`` in mind."""
        counts = self._counter.count_many(texts)
        structured = [is_json(text) for text in texts]
        results: list[Extract] = []
        for text, is_structured, limit in zip(texts, structured, limits, strict=True):
            if is_structured:
                results.append(self._json(text, limit))
            else:
                results.append(self._extractive.extract([text], limit, question)[0])
        if self._model is not None:
            prose = [
                at
                for at, text in enumerate(texts)
                if not structured[at] and counts[at] >= PROSE_TOKENS and not is_lines(text)
            ]
            summaries = self.summaries(
                [texts[at] for at in prose], [limits[at] for at in prose], question
            )
            for at, summary in zip(prose, summaries, strict=True):
                results[at] = summary
        return self._smaller(texts, counts, results)

    def summaries(
        self, texts: Sequence[str], limits: Sequence[int], question: str
    ) -> list[Extract]:
        """The model's summary of each text where it is faithful and fits, else an extract."""
        results: list[Extract | None] = [None] * len(texts)
        groups: dict[int, list[int]] = {}
        for at, limit in enumerate(limits):
            groups.setdefault(max(SUMMARY_STEP, limit // SUMMARY_STEP * SUMMARY_STEP), []).append(
                at
            )
        for limit, members in sorted(groups.items()):
            if self._model is None:
                break
            made = self._model.summarize([texts[at] for at in members], limit, question)
            for at, summary in zip(members, made, strict=True):
                results[at] = self._checked(texts[at], summary.strip(), limits[at])
        return [
            result
            if result is not None
            else self._extractive.extract([texts[at]], limits[at], question)[0]
            for at, result in enumerate(results)
        ]

    def _checked(self, text: str, summary: str, limit: int) -> Extract | None:
        """``summary`` as a memory of ``text``; None if it is empty, too long or unfaithful."""
        if not summary or self._counter.count(summary) > limit or unsupported(summary, text):
            return None
        return Extract(summary, ((0, len(text)),), 0.0)

    def _json(self, text: str, limit: int) -> Extract:
        """Smaller JSON, or the text as it is where nothing may be cut without losing a key."""
        value = parse_json(text)
        smaller = None if value is None else condense_json(value, limit, self._counter.count)
        if smaller is None:
            return Extract(text, (), 0.0)
        return Extract(smaller, ((0, len(text)),), 0.0)

    def _smaller(
        self, texts: Sequence[str], counts: Sequence[int], results: Sequence[Extract]
    ) -> list[Extract]:
        """The results, with the original wherever the result has not fewer tokens."""
        after = self._counter.count_many([result.text for result in results])
        return [
            result if now < before else replace(result, text=text, dropped=())
            for text, before, now, result in zip(texts, counts, after, results, strict=True)
        ]


def model_of(kit: Kit) -> Summarizer | None:
    """The kit's summariser where it writes words of its own; an extract's never are."""
    return None if isinstance(kit.summarizer, ExtractiveSummarizer) else kit.summarizer


def _groups(members: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """``members`` in order, in runs of about 8,192 tokens: choosing costs their square."""
    groups: list[list[int]] = []
    held = GROUP_TOKENS
    for at in members:
        if held >= GROUP_TOKENS:
            groups.append([])
            held = 0
        groups[-1].append(at)
        held += counts[at]
    return groups


def _limit(tokens: int, ratio: float) -> int:
    return max(1, int(-(-tokens // ratio)))
