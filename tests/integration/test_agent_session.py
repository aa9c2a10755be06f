"""A 30-turn agent session over the real gateway and a provider with a prompt cache.

The same script is played twice: passed through, and fitted. What counts is the bill.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import paragraph
from processes import House, Key, config_for, gateway, simulator

MAIN = Key.new()
TURNS = 30
Body = list[dict[str, Any]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One team whose requests are fitted, never routed elsewhere, and kept for the audit."""
    folder: Path = tmp_path_factory.mktemp("agent")
    teams = """
record: { bodies: 1 day }
fit: { allow: [lossless, compress], keep_recent: 2048 }
teams: { support: { keys: [main], forbid: [route, trim] } }
"""
    with (
        simulator(folder) as provider,
        gateway(folder, config_for(provider.url, folder, MAIN, teams)) as running,
    ):
        yield House(provider, running, MAIN, folder)


def script(kind: str, turns: int) -> Iterator[Body]:
    """The messages of each request: every turn holds all turns before it."""
    rng = random.Random(7)
    messages: Body = [{"role": "system", "content": "You keep the records of a waterworks."}]
    for turn in range(turns):
        notes = " ".join(paragraph(rng) for _ in range(10 if kind == "talk" else 3))
        asked = f"Which pumping station was inspected on day {turn // 2}, and what did it report?"
        messages.append({"role": "user", "content": f"{notes}\n\n{asked}"})
        yield list(messages)
        if kind == "tools":
            call = {"name": "look_up", "arguments": json.dumps({"day": turn})}
            messages.append(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": f"c{turn}", "type": "function", "function": call}],
                }
            )
            found = " ".join(paragraph(rng) for _ in range(14))
            messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": found})
            yield list(messages)
        said = " ".join(paragraph(rng) for _ in range(2))
        messages.append({"role": "assistant", "content": f"Day {turn}: {said}"})


@dataclass
class Played:
    """What one play of the script cost, and what was sent each turn."""

    costs: list[Decimal] = field(default_factory=list)
    sent: list[Body] = field(default_factory=list)
    fitted: int = 0

    @property
    def total(self) -> Decimal:
        """USD."""
        return sum(self.costs, Decimal(0))

    @property
    def breaks(self) -> int:
        """Turns in which the messages sent before were not sent again byte for byte."""
        found = 0
        for before, now in zip(self.sent, self.sent[1:], strict=False):
            head = [json.dumps(m) for m in before[:-1]]
            found += [json.dumps(m) for m in now[: len(head)]] != head
        return found


def play(client: httpx.Client, kind: str, session: str, headers: dict[str, str]) -> Played:
    played = Played()
    for messages in script(kind, TURNS if kind == "talk" else TURNS // 2):
        # Two plays never share a cached prefix: the first message says whose it is.
        messages[0] = {"role": "system", "content": f"{messages[0]['content']} ({session})"}
        body: dict[str, Any] = {"model": "gpt-6.1-sol", "max_tokens": 24, "messages": messages}
        if kind == "tools":
            body["tools"] = [{"type": "function", "function": {"name": "look_up"}}]
        answer = client.post(
            "/v1/chat/completions", json=body, headers={"x-weir-session": session, **headers}
        )
        assert answer.status_code == 200, answer.text
        request_id = answer.headers["x-weir-request-id"]
        receipt = client.get(f"/weir/receipts/{request_id}").json()
        bodies = client.get(f"/weir/receipts/{request_id}/audit").json()["bodies"]
        played.costs.append(Decimal(receipt["cost_usd"]))
        played.sent.append(json.loads(bodies["sent"])["messages"])
        played.fitted += answer.headers["x-weir-action"] != "pass"
    return played


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["talk", "tools"])
def test_fitting_a_session_never_costs_more_than_passing_it(house: House, kind: str) -> None:
    """Cached prefixes counted, the fitted session's bill is at most that of pass-through."""
    with house.client() as client:
        passed = play(client, kind, f"{kind}-pass-a", {"x-weir-mode": "pass"})
        fitted = play(client, kind, f"{kind}-fit-aa", {})
    print(
        f"\n{kind}: passed {passed.total} USD, fitted {fitted.total} USD "
        f"({fitted.fitted} of {TURNS} turns fitted, prefix broken in {fitted.breaks})"
    )
    assert passed.breaks == 0
    assert passed.fitted == 0
    assert fitted.fitted >= 8
    assert fitted.total <= passed.total
    assert fitted.breaks <= TURNS // 10
