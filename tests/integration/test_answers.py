"""The exact answer cache through the real app: the same bytes, no cost, and nobody else's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from processes import House, Key, config_for, gateway, get, simulator

ASK = {"model": "gpt-6.1-sol", "messages": [{"role": "user", "content": "Name three rivers."}]}
CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A gateway of two workers that keeps answers for two keys of one team."""
    folder: Path = tmp_path_factory.mktemp("answers")
    key, other = Key.new(), Key.new()
    teams = """
answers: { exact: true, ttl_seconds: 600, max_mb: 1 }
teams: { support: { keys: [main, other], budget: 100 per month } }
"""
    (folder / "other").write_text(other.secret)
    with simulator(folder) as provider:
        config = config_for(provider.url, folder, key, teams, f"  other: {other.hash}")
        with gateway(folder, config, "--workers", "2") as running:
            yield House(provider, running, key, folder)


def served(house: House) -> int:
    """How many requests the provider has served."""
    found: int = get(house.provider.url + "/sim/served").json()["requests"]
    return found


def ask(house: House, body: dict[str, Any], **headers: str) -> Any:
    """One answer."""
    with house.client(**headers) as client:
        return client.post(CHAT, json=body)


def twice(house: House, first: dict[str, Any], second: dict[str, Any], **headers: str) -> bool:
    """Whether the second request was answered from what was kept of the first."""
    ask(house, first)
    before = served(house)
    ask(house, second, **headers)
    return served(house) == before


def test_the_same_request_gets_the_same_bytes_and_costs_nothing(house: House) -> None:
    """Whichever worker is asked; the receipt says of which answer it is and what it saved."""
    first = ask(house, ASK)
    before = served(house)
    again = [ask(house, ASK) for _ in range(6)]
    turned = ask(house, dict(reversed(ASK.items())))
    assert served(house) == before
    assert {one.content for one in (*again, turned)} == {first.content}
    assert again[0].headers["x-weir-action"] == "cache"
    assert again[0].headers["x-weir-model"] == first.headers["x-weir-model"]
    with house.client() as client:
        cost, receipt = (
            client.get(f"/weir/receipts/{one.headers['x-weir-request-id']}").json()
            for one in (first, again[0])
        )
    assert receipt["cost_usd"] == "0"
    assert receipt["action"] == "cache"
    assert receipt["reasons"][0]["of"] == first.headers["x-weir-request-id"]
    assert receipt["baseline_usd"] == cost["baseline_usd"]
    assert receipt["saved_by"] == {"answers": receipt["saved_usd"]}
    assert Decimal(receipt["saved_usd"]) > 0
    assert receipt["tokens"]["billed"] == 0


def test_a_stream_comes_back_as_its_stored_text(house: House) -> None:
    """Events and all; the plain answer to the same question is another one."""
    body = {**ASK, "stream": True, "seed": 5}
    first = ask(house, body)
    before = served(house)
    again = ask(house, body)
    assert served(house) == before
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert not twice(house, body, {**body, "stream": False})


DIFFERENT: dict[str, dict[str, Any]] = {
    "another question": {"messages": [{"role": "user", "content": "Name four rivers."}]},
    "another model": {"model": "gpt-6-luna"},
    "a number spelled otherwise": {"temperature": 1},
    "a tool": {"tools": [TOOL]},
    "another user": {"user": "someone"},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_anything_else_is_asked(house: House, what: str) -> None:
    """A field more, or another value, is another request."""
    assert not twice(house, ASK, {**ASK, **DIFFERENT[what]})


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "no-store"},
        {"cache-control": "no-cache"},
        {"x-weir-mode": "pass"},
        {"x-weir-user": "someone else"},
        {"openai-beta": "anything"},
    ],
)
def test_headers_that_change_an_answer_are_part_of_it(
    house: House, headers: dict[str, str]
) -> None:
    """And a client that wants a fresh answer gets one."""
    assert not twice(house, {**ASK, "seed": 1}, {**ASK, "seed": 1}, **headers)


def test_no_store_keeps_nothing(house: House) -> None:
    """What was asked with it is asked again."""
    body = {**ASK, "seed": 77}
    ask(house, body, **{"cache-control": "no-store"})
    before = served(house)
    ask(house, body)
    assert served(house) == before + 1


def test_another_key_of_the_team_finds_nothing(house: House) -> None:
    """An answer is its key's alone."""
    secret = (house.folder / "other").read_text()
    assert not twice(house, ASK, ASK, authorization=f"Bearer {secret}")


def test_a_tool_call_is_kept_word_for_word(house: House) -> None:
    """The exact same request may call a tool again with the same arguments."""
    body = {**ASK, "tools": [TOOL], "tool_choice": "required"}
    first, before = ask(house, body), served(house)
    assert ask(house, body).content == first.content
    assert served(house) == before


def test_a_refusal_is_never_kept(house: House) -> None:
    """Nor is an answer that was cut."""
    body = {**ASK, "response_format": {"type": "nonsense"}}
    assert [ask(house, body).status_code for _ in range(2)] == [400, 400]


def test_nothing_on_disk_can_be_read(house: House) -> None:
    """Neither the question nor the answer stands in the files of the store."""
    words = "A very particular sentence about herons."
    body = {**ASK, "messages": [{"role": "user", "content": words}]}
    said = ask(house, body).json()["choices"][0]["message"]["content"]
    for path in house.folder.glob("weir.db.answers*"):
        data = path.read_bytes()
        assert words.encode() not in data
        assert said.encode()[:24] not in data


def test_the_store_stays_below_its_bound(house: House) -> None:
    """The oldest answers go; the newest is there."""
    noise = [f"{n} {'x' * 20_000}{n * 7919}" for n in range(150)]
    for text in noise:
        ask(house, {**ASK, "max_tokens": 600, "messages": [{"role": "user", "content": text}]})
    last = {**ASK, "max_tokens": 600, "messages": [{"role": "user", "content": noise[-1]}]}
    before = served(house)
    ask(house, last)
    assert served(house) == before


def test_the_budget_is_not_touched(house: House) -> None:
    """What costs nothing is spent by nobody."""
    ask(house, ASK)
    with house.client() as client:
        before, deadline = client.get("/weir/budgets").json()["data"][0], time.monotonic() + 20
        while Decimal(before["spent_usd"]) != paid(client):  # a worker hears late of the other's
            assert time.monotonic() < deadline, before
            before = client.get("/weir/budgets").json()["data"][0]
        for _ in range(3):
            ask(house, ASK)
        after = client.get("/weir/budgets").json()["data"][0]
        assert (before["spent_usd"], after["held_usd"]) == (after["spent_usd"], "0")
        assert Decimal(after["spent_usd"]) == paid(client)


def paid(client: Any) -> Decimal:
    """What the team's receipts come to, USD."""
    found = client.get("/weir/receipts?limit=1000").json()["data"]
    return sum((Decimal(one["cost_usd"]) for one in found), Decimal(0))
