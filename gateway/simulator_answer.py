"""What the simulated model says: plausible, deterministic, about what it was sent.

A question over a document is answered with the sentence of the *received* text that
answers it best, so a gateway that cut the right sentence away shows in the answer.
The length of an answer follows from a hash of the prompt.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compressor.conversation import Conversation, PartKind
from compressor.tokens import TokenCounter
from gateway.simulator_schema import instance
from gateway.simulator_wire import SimRequest, SimTool

_WORD = re.compile(r"[A-Za-z0-9_#@.-]*[A-Za-z0-9_]")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*[.!?]?")
_LONGEST_QUOTE = 400
_MOST_TEXT = 4_000_000  # characters searched; beyond it only the newest are
_OPENERS = (
    "Here is how I see it.",
    "In short:",
    "Let me go through it.",
    "The main point first.",
)
_BODIES = (
    "The part about {a} decides most of it, since {b} follows from there.",
    "Looking at {a}, the natural next step is {b}.",
    "It helps to keep {a} apart from {b}; they answer different questions.",
    "If {a} holds, then {b} can be settled without further assumptions.",
    "A quick check of {a} against {b} shows no contradiction.",
    "What remains open is {a}, and {b} narrows it down.",
)
_REASONED = {"none": 0, "low": 60, "medium": 220, "high": 640}


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: ``arguments`` is JSON text that the tool's schema accepts."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One choice of the reply; ``reasoning_tokens`` were thought but not shown."""

    text: str
    calls: tuple[Call, ...] = ()
    reasoning_tokens: int = 0


def answer(request: SimRequest, choice: int) -> Answer:
    """The reply to ``request``, choice number ``choice``; the same for the same request.

    Raises:
        SimError: a schema of the request cannot be met.
    """
    digest = _digest(request, choice)
    prompt = _prompt_text(request.conversation)
    thought = _REASONED[request.reasoning_effort]
    reasoning = thought + digest % (thought // 2 + 1)
    tool = _tool_to_call(request)
    if tool is not None:
        arguments = instance(tool.schema or {"type": "object"}, prompt, digest)
        text = json.dumps(arguments, ensure_ascii=False)
        return Answer("", (Call(f"call_{digest:016x}", tool.name, text),), reasoning)
    if request.schema is not None:
        shape = request.schema or {
            "type": "object",
            "properties": {"answer": {"const": _prose(request, digest, 1)}},
        }
        made = instance(shape, prompt, digest)
        return Answer(json.dumps(made, ensure_ascii=False), (), reasoning)
    return Answer(_prose(request, digest, 1 + digest % 9), (), reasoning)


def best_sentence(text: str, question: str) -> str | None:
    """The sentence or line of ``text`` that shares the rarest words with ``question``.

    None when no word of the question stands in the text. At most 400 characters.
    """
    asked = {word.lower() for word in _WORD.findall(question)}
    sentences = _SENTENCE.findall(text[-_MOST_TEXT:])
    holders: dict[str, list[int]] = {}
    for index, sentence in enumerate(sentences):
        for word in asked.intersection(map(str.lower, _WORD.findall(sentence))):
            holders.setdefault(word, []).append(index)
    scores: dict[int, float] = {}
    for word in sorted(holders):
        rarity = math.log(1 + len(sentences) / len(holders[word]))
        for index in holders[word]:
            scores[index] = scores.get(index, 0.0) + rarity * (len(word) > 2)
    if not scores:
        return None
    best = max(scores, key=lambda i: (scores[i] / (40 + len(sentences[i])) ** 0.25, -i))
    return _around(sentences[best].strip(), asked) if scores[best] > 0 else None


def _around(sentence: str, asked: set[str]) -> str:
    """``sentence``, or the part of a very long one around its rarest asked word."""
    if len(sentence) <= _LONGEST_QUOTE:
        return sentence
    lowered = sentence.lower()
    longest = max((w for w in asked if w in lowered), key=len, default="")
    middle = lowered.find(longest)
    start = max(0, min(middle - _LONGEST_QUOTE // 4, len(sentence) - _LONGEST_QUOTE))
    return sentence[start : start + _LONGEST_QUOTE].strip()


def _digest(request: SimRequest, choice: int) -> int:
    state = hashlib.blake2b(f"{request.seed}:{choice}:{request.model}".encode(), digest_size=8)
    for message in request.conversation.messages:
        state.update(f"\0{message.role}\0{message.text}".encode("utf-8", "surrogatepass"))
    return int.from_bytes(state.digest(), "big")


def prompt_text(request: SimRequest) -> str:
    """All that the model reads of a request, without its tools."""
    return _prompt_text(request.conversation)


def _prompt_text(conversation: Conversation) -> str:
    return "\n".join(message.text for message in conversation.messages)


def _question_and_document(conversation: Conversation) -> tuple[str, str]:
    """The newest question, and everything else that was sent."""
    last = conversation.last_human()
    if last is None:
        return "", _prompt_text(conversation)
    asked = conversation.messages[last].text.strip()
    paragraphs = [p for p in re.split(r"\n\s*\n", asked) if p.strip()]
    ends = [p for p in (paragraphs[:1] + paragraphs[-1:]) if len(p) <= 600]
    question = max(ends, key=lambda p: (p.rstrip().endswith("?"), p is ends[-1]), default="")
    question = question or asked[-300:]
    others = [m.text for i, m in enumerate(conversation.messages) if i != last]
    return question, "\n".join([*others, asked.replace(question, " ", 1)])


def _tool_to_call(request: SimRequest) -> SimTool | None:
    """The tool this turn calls: after a tool's result the model speaks, else it acts."""
    if not request.tools or request.tool_choice == "none":
        return None
    named = [tool for tool in request.tools if tool.name == request.tool_choice]
    if named:
        return named[0]
    last = request.conversation.messages[-1]
    answered = last.role == "tool" or any(p.kind is PartKind.TOOL_RESULT for p in last.parts)
    if answered and request.tool_choice != "required":
        return None
    question, _ = _question_and_document(request.conversation)
    asked = Counter(_stems(question))
    return max(
        request.tools,
        key=lambda t: sum(asked[s] for s in set(_stems(f"{t.name} {t.description}"))),
    )


def _stems(text: str) -> list[str]:
    return [word[:5] for word in re.findall(r"[a-z]{3,}", text.lower())]


def _prose(request: SimRequest, digest: int, sentences: int) -> str:
    question, document = _question_and_document(request.conversation)
    lines: list[str] = []
    quote = best_sentence(document, question) if len(document) > 200 else None
    if quote is not None:
        lines.append(f'The text says: "{quote}"')
    else:
        lines.append(_OPENERS[digest % len(_OPENERS)])
    topics = _topics(question)
    for turn in range(sentences):
        pick = (digest >> (5 * turn % 56)) & 0xFFFF
        form = _BODIES[(pick + turn) % len(_BODIES)]
        first = pick % len(topics)
        second = (first + 1 + pick // 7 % (len(topics) - 1)) % len(topics)
        lines.append(form.format(a=topics[first], b=topics[second]))
    if re.search(r"\b(python|function|code|script|program)\b", question.lower()):
        name = "_".join(re.findall(r"[a-z]+", " ".join(topics[:2]).lower())[:3]) or "solve"
        lines.append(f"\n```python\ndef {name}(items):\n    return sorted(set(items))\n```")
    return " ".join(lines)


def _topics(question: str) -> Sequence[str]:
    words = dict.fromkeys(re.findall(r"[A-Za-z][A-Za-z-]{4,}", question))
    return [*words, "the request", "the context given"][: max(2, min(len(words), 12))]


def pieces(text: str) -> list[str]:
    """``text`` cut into the pieces a stream sends; joined, they are the text."""
    return re.findall(r"\s*\S+|\s+$", text)


def cut(text: str, limit: int, counter: TokenCounter) -> str:
    """The longest start of ``text`` of at most ``limit`` tokens."""
    if counter.count(text) <= limit:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if counter.count(text[:middle]) <= limit:
            low = middle
        else:
            high = middle - 1
    return text[:low]
