"""Carry a probe out: questions in parallel, answers journalled, money watched.

The journal has one JSON line an answer, so that a probe that was stopped, by its budget or
by hand, goes on where it was; what a broken question may have cost stands there, too.
Questions are asked in the same order in every run: what the journal knows is not asked again.
No question is sent whose worst case would break the budget.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from billing.price import Price
from billing.usage import Usage, estimated
from compressor.tokens import TokenCounter
from gateway.probe_ask import ProbeFailed, Said
from router.probe import Range, Search, planned
from router.probe_tasks import Kind, Trial, make_task

VERSION = 1
ANSWER_TOKENS = 60  # what an answer is expected to take, where it is not metered yet
SLACK = 1.25  # a provider may count more than we do until its own count is known

Ask = Callable[[str, int], Awaitable[Said]]


class JournalMismatch(Exception):
    """The journal was written for another model, seed or range."""


class OverBudget(Exception):
    """The next question could cost more than is left."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a probe is of."""

    model: str
    kinds: tuple[Kind, ...]
    over: Range
    seed: int
    max_output: int
    parallel: int = 4


@dataclass(frozen=True, slots=True)
class Row:
    """One answer as journalled; token counts 0 where the provider did not meter."""

    kind: str
    tokens: int
    number: int
    right: bool
    counted: int
    prompt_tokens: int
    completion_tokens: int
    cost_nano: int

    @property
    def trial(self) -> Trial:
        """The question."""
        return Trial(Kind(self.kind), self.tokens, self.number)


@dataclass(slots=True)
class Purse:
    """What may be spent, nano-USD; ``price`` None where somebody else does the accounting."""

    price: Price | None
    limit_nano: int | None
    spent_nano: int = 0
    held_nano: int = 0

    def hold(self, prompt_tokens: int, output_tokens: int) -> int:
        """Set aside the most that one question can cost.

        Raises:
            OverBudget: it is not there.
        """
        most = self.price.most(int(prompt_tokens * SLACK), output_tokens) if self.price else 0
        left = self.limit_nano
        if left is not None and self.spent_nano + self.held_nano + most > left:
            raise OverBudget
        self.held_nano += most
        return most

    def pay(self, held: int, cost: int) -> None:
        """Take what a question cost from what was set aside for it."""
        self.held_nano -= held
        self.spent_nano += cost


class Journal:
    """The answers so far, in a file of JSON lines; the first line says of what."""

    def __init__(self, path: Path, setup: Setup) -> None:
        """Raises JournalMismatch, OSError."""
        self._path = path
        self.rows: dict[Trial, Row] = {}
        self.lost_nano = 0  # what questions without an answer may have cost
        head = _head(setup)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if not text.endswith("\n"):  # the last line of a run that was killed: torn off
            text = text[: text.rfind("\n") + 1]
            path.write_text(text, encoding="utf-8")
        lines = text.splitlines()
        if not lines:
            path.write_text(json.dumps(head) + "\n", encoding="utf-8")
            return
        different = _different(lines[0], head)
        if different:
            raise JournalMismatch(
                f"{path} is of another probe ({', '.join(different)} differ); go on with the "
                "same options, or start anew with --fresh"
            )
        for line in lines[1:]:
            try:
                known = json.loads(line)
                self.lost_nano += int(known.pop("lost_nano", 0))
                row = Row(**known)
                self.rows[row.trial] = row
            except (ValueError, TypeError, AttributeError):
                continue

    def add(self, row: Row) -> None:
        """Keep one answer, on disk before it counts."""
        self.rows[row.trial] = row
        self._write(asdict(row))

    def lose(self, cost_nano: int) -> None:
        """Keep what a question that got no answer may have cost."""
        self.lost_nano += cost_nano
        self._write({"lost_nano": cost_nano})

    def _write(self, line: Mapping[str, object]) -> None:
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")


def _different(line: str, head: Mapping[str, object]) -> list[str]:
    """What a journal's first line says otherwise than ``head``."""
    try:
        found = json.loads(line)
        return sorted(k for k in head if found.get(k) != head[k])
    except (ValueError, AttributeError):
        return ["its first line"]


def _head(setup: Setup) -> dict[str, object]:
    over = {name: getattr(setup.over, name) for name in ("shortest", "longest", "keep", "most")}
    return {"version": VERSION, "model": setup.model, "seed": setup.seed, **over}


@dataclass(slots=True)
class Probe:
    """One probe under way. ``told`` is called after every answer."""

    setup: Setup
    counter: TokenCounter
    ask: Ask
    journal: Journal
    purse: Purse
    told: Callable[[Row], None] = lambda row: None
    searches: list[Search] = field(init=False)

    def __post_init__(self) -> None:
        self.searches = [Search(kind, self.setup.over) for kind in self.setup.kinds]
        answered = sum(row.cost_nano for row in self.journal.rows.values())
        self.purse.spent_nano += answered + self.journal.lost_nano

    async def run(self) -> bool:
        """Ask until every kind is settled; False where the budget ended it before.

        Raises:
            ProbeFailed: the provider refused a question.
        """
        while wanted := self._wanted():
            gate = asyncio.Semaphore(self.setup.parallel)
            tasks = [asyncio.create_task(self._one(trial, gate)) for trial in wanted]
            try:
                await asyncio.gather(*tasks)
            except OverBudget:
                await asyncio.gather(*tasks, return_exceptions=True)
                return False
            finally:
                for task in tasks:
                    task.cancel()
                self._wanted()  # what was answered counts
        return True

    def _wanted(self) -> list[Trial]:
        """What must be asked next; what the journal knows is recorded."""
        open_: list[Trial] = []
        for search in self.searches:
            while trials := search.wanted():
                known = [t for t in trials if t in self.journal.rows]
                for trial in known:
                    search.record(trial, self.journal.rows[trial].right)
                if len(known) < len(trials):
                    open_ += [t for t in trials if t not in self.journal.rows]
                    break
        return open_

    def scale(self, kind: Kind) -> float:
        """The model's tokens for one of ours: as metered at the shortest length, once known."""
        rows = [
            row
            for row in self.journal.rows.values()
            if row.kind == kind and row.tokens == self.setup.over.shortest and row.prompt_tokens
        ]
        if len(rows) < self.setup.over.most:
            return 1.0  # the counter's own estimate
        return sum(row.prompt_tokens for row in rows) / sum(row.counted for row in rows)

    async def _one(self, trial: Trial, gate: asyncio.Semaphore) -> None:
        async with gate:
            scale = self.scale(trial.kind)
            make = (trial, self.setup.seed, self.counter, scale)
            task = await asyncio.to_thread(make_task, *make)
            counted = self.counter.count(task.prompt)
            held = self.purse.hold(int(counted * scale), self.setup.max_output)
            said, usage, cost = await self._paid(task.prompt, int(counted * scale), held)
            metered = said.usage is not None
            row = Row(
                kind=trial.kind.value,
                tokens=trial.tokens,
                number=trial.number,
                right=task.right(said.text),
                counted=counted,
                prompt_tokens=usage.prompt_tokens if metered else 0,
                completion_tokens=usage.completion_tokens if metered else 0,
                cost_nano=cost,
            )
            self.journal.add(row)
            self.told(row)

    async def _paid(self, prompt: str, counted: int, held: int) -> tuple[Said, Usage, int]:
        """The answer, its usage and cost; without one, what it may have cost is kept as lost."""
        cost: int | None = None
        try:
            said = await self.ask(prompt, self.setup.max_output)
            usage = said.usage or estimated(counted, self.counter.count(said.text))
            cost = self.purse.price.cost(usage) if self.purse.price else 0
            return said, usage, cost
        except ProbeFailed as error:
            cost = held if error.billed else 0
            if cost:
                self.journal.lose(cost)
            raise
        finally:
            if cost is None and held:  # stopped by hand while it was asked
                self.journal.lose(held)
            self.purse.pay(held, held if cost is None else cost)


def cost_estimate(
    setup: Setup, price: Price, known: Mapping[Trial, Row] | Iterable[Trial] = ()
) -> tuple[int, int, int]:
    """(tokens, nano-USD, nano-USD at most) of a probe as dear as they come.

    What is journalled already is paid for and left out of the tokens and the first amount.
    """
    done: dict[int, int] = {}
    for trial in known:
        done[trial.tokens] = done.get(trial.tokens, 0) + 1
    tokens = likely_nano = most_nano = 0
    for length, likely, most in planned(setup.over, setup.kinds):
        paid = min(likely, done.get(length, 0))
        done[length] = done.get(length, 0) - paid
        tokens += (likely - paid) * length
        each = price.cost(estimated(length, ANSWER_TOKENS))
        likely_nano += (likely - paid) * each
        most_nano += most * price.most(length, setup.max_output)
    return tokens, likely_nano, most_nano


def expected_questions(setup: Setup) -> int:
    """Questions of a long probe; what a progress bar starts from."""
    return sum(likely for _, likely, _ in planned(setup.over, setup.kinds))


def kinds_of(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds named. Raises ValueError with those there are."""
    try:
        return tuple(dict.fromkeys(Kind(name.strip()) for name in names))
    except ValueError as error:
        raise ValueError(f"{error}; known: {', '.join(kind.value for kind in Kind)}") from None
