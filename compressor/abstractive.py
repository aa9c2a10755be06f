"""What every summariser that writes its own words shares: the prompt, and the judgement.

The rule: what a model wrote is used only if each of its sentences is faithful, it fits,
and it keeps at least as many of the source's exact things as an extract of the same size
does. Otherwise the extract is used. So a weak model can cost time, never facts.
"""

from __future__ import annotations

import re

from compressor.faithful import kept_exact, unsupported
from compressor.kit import Summarizer
from compressor.summarize import ExtractiveSummarizer
from compressor.tokens import TokenCounter
from compressor.units import split_units

PROMPT_VERSION = "1"
PREFIX = "[in short] "  # a summary says that it is one: its words were not the speaker's
WORDS_A_TOKEN = 0.6
SYSTEM = (
    "You condense text. Keep every number, name, date, path, identifier, error and decision "
    "exactly as it is written. Say nothing that the text does not say. Plain sentences, no "
    "introduction, no comments."
)
_THINKING = re.compile(r"\A\s*<think>.*?</think>\s*", re.DOTALL)


def prompt(text: str, max_tokens: int, question: str) -> list[dict[str, str]]:
    """Chat messages that ask for a summary of ``text`` in about ``max_tokens`` tokens."""
    words = max(12, int(max_tokens * WORDS_A_TOKEN))
    about = f" Keep what bears on this question: {question}" if question.strip() else ""
    ask = f"Condense the text between the lines into at most {words} words.{about}"
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"{ask}\n-----\n{text}\n-----"},
    ]


class Judge:
    """Decides between a model's summary and an extract.

    Args:
        fallback: makes the extract; by default sentences chosen by their terms.
        counter: counts both; without one, a token is taken to be three bytes.
    """

    def __init__(
        self, fallback: Summarizer | None = None, counter: TokenCounter | None = None
    ) -> None:
        self._fallback = fallback or ExtractiveSummarizer(None, counter)
        self._counter = counter
        self.name = f"{PROMPT_VERSION}+{self._fallback.name}"

    def extract(self, text: str, max_tokens: int, question: str) -> str:
        """The fallback's summary of ``text``."""
        return self._fallback.summarize([text], max_tokens, question)[0]

    def verdict(self, generated: str | None, text: str, max_tokens: int, question: str) -> str:
        """The summary of ``text`` to use: ``generated``, its faithful part, or an extract.

        ``generated`` None means that the model gave nothing.
        """
        extract = self.extract(text, max_tokens, question)
        if generated is None:
            return extract
        kept = self._fitting(faithful_part(_THINKING.sub("", generated), text), max_tokens)
        if not kept or kept_exact(kept, text) < kept_exact(extract, text):
            return extract
        return PREFIX + " ".join(kept.split())

    def _fitting(self, summary: str, max_tokens: int) -> str:
        """The sentences of ``summary`` that fit, from its start."""
        units = split_units(summary)
        while units and self.tokens(PREFIX + summary[: units[-1].end]) > max_tokens:
            units.pop()
        return summary[: units[-1].end] if units else ""

    def tokens(self, text: str) -> int:
        """How many tokens a text has; without a counter, three bytes each."""
        if self._counter is not None:
            return self._counter.count(text)
        return len(text.encode("utf-8", "replace")) // 3 + 1


def faithful_part(summary: str, source: str) -> str:
    """The sentences of ``summary`` that claim nothing ``source`` does not say, in order."""
    sentences = [summary[unit.start : unit.end] for unit in split_units(summary)]
    return " ".join(sentence for sentence in sentences if not unsupported(sentence, source))
