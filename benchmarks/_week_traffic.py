"""A week of a company's requests, made from labelled prompts: who asks what, when, and what a
good answer needs. The same seed gives the same week.

Four kinds of sessions. *Chat*: a handbook as system prompt and one to six labelled questions.
*Agent*: tools, a piece of work, a loop of tool results, "commit it", another piece of work.
*Document*: a long record and a few questions about single facts in it, or a summary. *Single*:
one labelled question. Gaps are seconds to minutes, now and then hours.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WEEK_S = 7 * 86_400
TASKS = (
    "Find and fix the race condition in the scheduler so that no job runs twice after a restart.",
    "Implement an LRU cache with expiry for the session store and debug the failing test.",
    "Refactor the billing module so that the currency is decided in one place.",
    "Design a migration of the orders table without downtime and implement its first step.",
    "Debug the memory leak in the upload handler and prove that the fix holds.",
)
THINGS = ("pump", "valve", "boiler", "sensor", "filter", "motor", "panel", "gauge")
PARTS = ("serial number", "service interval", "purchase price", "supplier", "warranty end")


@dataclass(frozen=True)
class Ask:
    """One request: messages from the start of its session, and what answers it well.

    ``right`` is P(good) by tier (small, larger); ``needle`` what must stand in the prompt as
    sent, "" for nothing; ``whole`` says that nothing may be missing from it.
    """

    at_s: float
    session: int
    team: str
    kind: str
    messages: Sequence[dict[str, Any]]
    right: tuple[float, float]
    needle: str = ""
    whole: bool = False
    tools: Sequence[dict[str, Any]] = ()


@dataclass
class Week:
    """The makings of sessions: a seeded generator and labelled questions."""

    rows: Sequence[dict[str, Any]]
    rng: random.Random
    asks: list[Ask] = field(default_factory=list)
    sessions: int = 0

    def fill(self, sessions: int) -> list[Ask]:
        """So many sessions, their requests in order of time."""
        for number in range(sessions):
            self.sessions = number
            team = "sol" if self.rng.random() < 0.6 else "terra"
            start = self.rng.random() * WEEK_S * 0.98
            kind = self.rng.choices(
                (self.chat, self.agent, self.document, self.single), (45, 15, 15, 25)
            )[0]
            kind(team, start)
        return sorted(self.asks, key=lambda ask: (ask.at_s, ask.session))

    def gap(self, least: float, most: float) -> float:
        """Seconds to the next request; one in fifteen comes after hours."""
        if self.rng.random() < 1 / 15:
            return self.rng.uniform(3_600, 20_000)
        return self.rng.uniform(least, most)

    def words(self, count: int) -> str:
        """Plain prose of so many words, the same for the same state of the generator."""
        stock = [
            "customer",
            "order",
            "delivery",
            "invoice",
            "notice",
            "contract",
            "branch",
            "agent",
            "report",
            "quality",
            "account",
            "service",
            "region",
            "product",
            "stock",
            "partner",
            "policy",
            "review",
            "office",
            "system",
            "record",
        ]
        return " ".join(
            self.rng.choice(stock) + ("." if n % 14 == 13 else "") for n in range(count)
        )

    def handbook(self, team: str) -> str:
        """A team's system prompt of about 2,600 tokens, always the same."""
        kept, self.rng = self.rng, random.Random(team)
        text = f"You answer for {team}. Handbook: " + self.words(2_300)
        self.rng = kept
        return text

    def row(self) -> tuple[str, tuple[float, float]]:
        """A labelled question and whether a small and a large model were right."""
        found = self.rng.choice(self.rows)
        return found["prompt"], (float(found["weak_correct"]), float(found["strong_correct"]))

    def add(self, team: str, kind: str, at: float, messages: list[Any], **more: Any) -> None:
        """One request of the current session."""
        self.asks.append(Ask(at, self.sessions, team, kind, tuple(messages), **more))

    def chat(self, team: str, at: float) -> None:
        """Some questions under the team's handbook."""
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.handbook(team)}]
        for _ in range(self.rng.randint(1, 6)):
            question, right = self.row()
            messages = [*messages, {"role": "user", "content": question}]
            self.add(team, "chat", at, messages, right=right)
            messages = [*messages, {"role": "assistant", "content": self.words(60)}]
            at += self.gap(15, 240)

    def single(self, team: str, at: float) -> None:
        """One question and nothing more."""
        question, right = self.row()
        self.add(team, "single", at, [{"role": "user", "content": question}], right=right)

    def agent(self, team: str, at: float) -> None:
        """Work with tools: two pieces of it, each with a loop, and a short follow-up."""
        tools = [
            {
                "type": "function",
                "function": {
                    "name": f"{verb}_{noun}",
                    "description": f"Will {verb} the {noun} and say what came of it.",
                    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
                },
            }
            for verb in ("read", "write", "list", "check")
            for noun in ("file", "test", "branch")
        ]
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.handbook(team + "a")}]
        number = 0
        for turn in (self.rng.choice(TASKS), "commit it", self.rng.choice(TASKS)):
            messages = [*messages, {"role": "user", "content": turn}]
            steps = 1 if turn == "commit it" else self.rng.randint(4, 12)
            for _ in range(steps):
                self.add(team, "agent", at, messages, right=(0.55, 0.9), tools=tools)
                number += 1
                call = {"name": "read_file", "arguments": json.dumps({"path": f"src/{number}.py"})}
                messages = [
                    *messages,
                    {
                        "role": "assistant", "content": None,
                        "tool_calls": [
                            {"id": f"c{number}", "type": "function", "function": call}
                        ],
                    },
                    {"role": "tool", "tool_call_id": f"c{number}", "content": self.result()},
                ]  # fmt: skip
                at += self.gap(4, 25)
            self.add(team, "agent", at, messages, right=(0.55, 0.9), tools=tools)
            said = "Done:\n```python\nlock.release()\n```\n" + self.words(40)
            messages = [*messages, {"role": "assistant", "content": said}]
            at += self.gap(20, 200)

    def result(self) -> str:
        """What a tool says: some lines of code, or records."""
        if self.rng.random() < 0.5:
            rows = [
                {"id": n, "state": self.rng.choice(("ok", "failed")), "ms": self.rng.randint(1, 99)}
                for n in range(self.rng.randint(10, 60))
            ]
            return json.dumps({"rows": rows})
        return "\n".join(
            f"    step_{n}({self.words(3)!r})" for n in range(self.rng.randint(10, 80))
        )

    def document(self, team: str, at: float) -> None:
        """A long record, then questions about single facts, at times a summary."""
        facts: list[tuple[str, str, str]] = []
        pages: list[str] = []
        for _ in range(self.rng.randint(40, 180)):
            name = f"{self.rng.choice(THINGS)} {self.rng.randint(1_000, 9_999)}"
            part, value = self.rng.choice(PARTS), f"{self.rng.randint(10_000, 99_999)}-K"
            facts.append((name, part, value))
            pages.append(f"{self.words(110)}. The {part} of {name} is {value}. {self.words(110)}.")
        text = "\n\n".join(pages)
        name, part, value = self.rng.choice(facts)
        opening = f"{text}\n\nWhat is the {part} of {name}?"
        messages: list[dict[str, Any]] = [{"role": "user", "content": opening}]
        self.add(team, "document", at, messages, right=(0.97, 0.97), needle=value)
        for _ in range(self.rng.randint(0, 3)):
            at += self.gap(15, 180)
            messages = [*messages, {"role": "assistant", "content": f"It is {value}."}]
            if self.rng.random() < 0.25:
                question = (
                    "Summarise the whole record: which suppliers and prices stand out, and why?"
                )
                more: dict[str, Any] = {"whole": True}
            else:
                name, part, value = self.rng.choice(facts)
                question, more = f"And what is the {part} of {name}?", {"needle": value}
            messages = [*messages, {"role": "user", "content": question}]
            self.add(team, "document", at, messages, right=(0.9, 0.97), **more)
