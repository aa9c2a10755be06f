"""What the gateway remembers of conversations, through the whole app in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest
from engines import valkey
from fakes import FakeReply, FakeUpstream, completion, plain_reply

from gateway.app import App, create_app
from gateway.auth import hash_of
from gateway.recall_feed import Feed, RedisChannel
from gateway.recall_settle import take_in
from gateway.sessions import Turn
from gateway.settings import parse
from gateway.upstream.protocol import Outbound
from router.learning import SMALL as SMALL_SIZE
from router.thread import Thread

SECRET = "weir-unit"
AT = 1_795_000_000_000
SMALL, MID = "gpt-6-luna", "gpt-6.1-sol"
CONFIG = """
database: sqlite:///{folder}/weir.db
upstreams: {{ openai: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", provider: openai }} }}
models: {{ {small}: {{ upstream: openai, tier: small }}, {mid}: {{ upstream: openai }} }}
routing: {{ baseline: {mid}{more} }}
teams: {{ t: {{ keys: [k] }} }}
keys: {{ k: {key} }}
"""
EASY = "Hello again! Who was the first person to walk on the surface of the moon?"
THANKS = "Thanks and cheers, good morning, hello, hi there, how are you today? Take your time!"
HARD = "Find and fix the race condition in this scheduler so that no task is lost on restart."
PATCH = "The lock is released too early:\n```python\nwith lock:\n    queue.commit()\n```"


class Provider(FakeUpstream):
    """Answers as its story says at the time."""

    def __init__(self, story: Story) -> None:
        super().__init__()
        self.story = story
        self.bodies: list[bytes] = []

    async def send(self, call: Outbound) -> FakeReply:
        """The story's answer and usage."""
        self.bodies.append(call.body)
        usage = {
            "prompt_tokens": self.story.prompt, "completion_tokens": 20,
            "total_tokens": self.story.prompt + 20,
            "prompt_tokens_details": {"cached_tokens": self.story.cached},
        }  # fmt: skip
        return plain_reply(completion(self.story.answer, usage))


class Story:
    """A gateway with a scripted provider; requests come at instants that the test names."""

    def __init__(self, folder: Path, more: str = "") -> None:
        text = CONFIG.format(
            folder=folder, small=SMALL, mid=MID, key=hash_of(SECRET), more=more
        )  # fmt: skip
        self.now = AT
        self.cached = 0
        self.prompt = 3_000
        self.answer = "All is well."
        self.provider = Provider(self)
        self.app: App = create_app(
            parse(text, str(folder / "weir.yaml")),
            upstreams={"openai": self.provider},
            clock=lambda: self.now,
        )

    async def ask(
        self, messages: list[dict[str, Any]], task: str = "", **more: Any
    ) -> dict[str, str]:
        """One request; the response headers."""
        body = {"model": MID, "messages": messages, **more}
        headers = [(b"x-weir-task", task.encode())] if task else []
        return await self.post("/v1/chat/completions", body, headers)

    async def post(
        self, path: str, body: dict[str, Any], headers: list[tuple[bytes, bytes]] | None = None
    ) -> dict[str, str]:
        """One request to a route; the response headers."""
        sent = iter([{"type": "http.request", "body": json.dumps(body).encode()}])
        found: dict[str, str] = {}

        async def receive() -> dict[str, Any]:
            first = next(sent, None)
            if first is None:
                await asyncio.Event().wait()
            return first or {}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                found.update({k.decode(): v.decode() for k, v in message["headers"]})
                assert message["status"] in (200, 201)

        scope = {
            "type": "http", "method": "POST", "path": path, "query_string": b"",
            "headers": [(b"authorization", f"Bearer {SECRET}".encode()), *(headers or [])],
        }  # fmt: skip
        await self.app(scope, receive, send)
        return found

    def run(self, story: Callable[[], Any]) -> None:
        """The story between start and stop."""

        async def whole() -> None:
            await self.app.start()
            try:
                await story()
            finally:
                await self.app.stop()

        asyncio.run(whole())


class Ear:
    """What a feed is told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []

    def tell(self, event: Mapping[str, Any]) -> None:
        """One event."""
        self.told.append(event)

    async def exchange(self) -> None:
        """Nothing to carry."""

    run = catch_up = close = exchange


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_commit_it_goes_where_the_hard_work_was_done(story: Story) -> None:
    """Turn by turn through the gateway: up for work, inherited by a short follow-up, held for
    what refers to the code, and down again only after a second easy turn."""
    seen: list[tuple[str, str]] = []

    async def talk() -> None:
        messages = [user(EASY)]
        for answer, turn in (
            ("Neil Armstrong.", HARD),
            (PATCH, "commit it"),
            ("Done.", EASY),
            ("Neil Armstrong, still.", THANKS),
            ("In 1969.", "And in your patch, does the second step of the code need a longer lock?"),
        ):
            seen.append(await one(messages))
            messages = [*messages, said(answer), user(turn)]
        seen.append(await one(messages))

    async def one(messages: list[dict[str, Any]]) -> tuple[str, str]:
        story.now += 20_000
        headers = await story.ask(messages)
        return headers["x-weir-model"], headers["x-weir-reason"]

    story.run(talk)
    assert [model for model, _ in seen] == [SMALL, MID, MID, MID, SMALL, MID]
    assert "follow_up" in seen[2][1]
    assert "comes_down_slowly" in seen[3][1]


def test_a_tool_result_goes_to_the_model_that_called(story: Story) -> None:
    """A loop of tools that a small model began it ends, and so one that a larger one began."""
    call = {
        "role": "assistant", "content": None,
        "tool_calls": [{"id": "c1", "type": "function",
                        "function": {"name": "f", "arguments": "{}"}}],
    }  # fmt: skip
    result = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    seen: list[str] = []

    async def talk() -> None:
        for first in (EASY, HARD):
            seen.append((await story.ask([user(first)]))["x-weir-model"])
            headers = await story.ask([user(first), call, result])
            seen.append(headers["x-weir-model"])
            assert "tool_loop" in headers["x-weir-reason"]

    story.run(talk)
    assert seen == [SMALL, SMALL, MID, MID]


def test_what_the_provider_reports_of_its_cache_is_learned(story: Story) -> None:
    """A cache that never hits is not counted on any more; what it was sent is remembered."""
    recall = story.app.shell.recall
    page = "The contract says many things about delivery, payment and notice. " * 400

    async def talk() -> None:
        messages = [user(page + HARD)]
        for number in range(12):
            story.now += 30_000
            story.prompt = 5_000 + 40 * number
            await story.ask(messages)
            messages = [*messages, said("Yes."), user(f"{HARD} Look at part {number}.")]

    story.run(talk)
    assert len(recall.warm) > 5
    habit = recall.warm.habit(("openai", MID))
    assert habit is not None
    assert sum(habit.trials) > 8
    assert sum(habit.hits) == 0
    assert recall.pace.turns_left("k", 1) > 1.5


def test_the_same_prompt_again_is_a_word_on_the_answer(story: Story) -> None:
    """Regenerating, asking again and going on are labels of the task, each with its weight."""
    recall = story.app.shell.recall

    async def talk() -> None:
        await story.ask([user(EASY)])
        story.now += 5_000
        await story.ask([user(EASY)])
        story.now += 5_000
        await story.ask([user(EASY), said("Me."), user(EASY + " Really?")])

    story.run(talk)
    tasks = {task for task, size in recall.tasks._means if size == SMALL_SIZE}
    assert len(tasks) == 1
    count, share = recall.tasks.share(tasks.pop(), SMALL_SIZE, 0.9)
    assert count == pytest.approx(1.2, abs=0.01)
    assert share < 0.85


def test_a_reply_that_is_not_the_json_asked_for_is_a_bad_answer(tmp_path: Path) -> None:
    """A broken schema counts against the model that wrote it."""
    story = Story(tmp_path, ", escalate: never")
    recall = story.app.shell.recall
    schema = {"type": "json_object"}

    async def talk() -> None:
        await story.ask([user(EASY)], response_format=schema)
        story.answer = '{"name": "Neil Armstrong"}'
        await story.ask([user(EASY + " Answer in JSON.")], response_format=schema)

    story.run(talk)
    counts = [mean.count for mean in recall.tasks._means.values()]
    assert counts == [pytest.approx(0.8)]


def test_a_budget_of_escalations_keeps_auto_small(tmp_path: Path) -> None:
    """`auto` goes up until its key has spent the day's allowance, and again the next day."""
    story = Story(tmp_path, ", escalations: 0.01")
    seen: list[str] = []

    async def talk() -> None:
        for number in range(5):
            messages = [user(f"{HARD} Case {number} of five.")]
            seen.append((await story.ask(messages, model="auto"))["x-weir-model"])
        story.now += 86_400_000
        seen.append((await story.ask([user(HARD)], model="auto"))["x-weir-model"])

    story.run(talk)
    assert seen == [MID, MID, SMALL, SMALL, SMALL, MID]


def test_an_event_of_another_process_is_remembered_alike(tmp_path: Path) -> None:
    """What one process has settled another decides by: the same turn, warmth and labels."""
    first, second = Story(tmp_path), Story(tmp_path)
    ear = Ear()
    first.app.shell.feed = ear  # type: ignore[assignment]  # hears what a feed would carry

    async def talk() -> None:
        await first.ask([user(HARD)])

    first.run(talk)
    told = [json.loads(json.dumps(event)) for event in ear.told]
    recall = second.app.shell.recall
    for event in told:
        recall.apply(event)
    assert told
    assert recall.sessions.last(told[0]["session"]) is not None
    seen: list[str] = []

    async def later() -> None:
        second.now += 20_000
        headers = await second.ask([user(HARD), said(PATCH), user("commit it")])
        seen.append(headers["x-weir-reason"])

    second.run(later)
    assert "follow_up" in seen[0]


def test_observe_mode_sends_the_clients_own_bytes(tmp_path: Path) -> None:
    """Nothing is changed, in any turn, whatever would have been done; everything is recorded."""
    story = Story(tmp_path, ", mode: observe")
    page = "The contract says many things about delivery, payment and notice. " * 3_000
    messages = [user(EASY), said("Neil."), user(page + " Which notice period is in clause 7?")]

    async def talk() -> None:
        for count in (1, 3):
            headers = await story.ask(messages[:count])
            assert headers["x-weir-arm"] == "observe"
            assert headers["x-weir-action"] == "pass"

    story.run(talk)
    asked = [json.dumps({"model": MID, "messages": messages[:n]}).encode() for n in (1, 3)]
    assert story.provider.bodies == asked
    assert len(story.app.shell.recall.warm) > 5


def test_where_changing_requests_has_lost_money_it_stops_and_says_so(story: Story) -> None:
    """After a team's losses nothing is switched there: on the response, in explain, in a metric."""
    shell = story.app.shell
    turn = Turn(SMALL, 1_000, AT, tier="small", root="r")
    losing = {
        "key": "k", "team": "t", "session": "s", "name": 0, "at": AT, "gap": None,
        "turn": astuple(turn), "owner": ["openai", SMALL], "sent": [], "report": None,
        "lever": "switch", "baseline": 1_000_000, "cost": 3_000_000,
    }  # fmt: skip
    seen: list[dict[str, str]] = []

    async def talk() -> None:
        seen.append(await story.ask([user(EASY)]))
        for number in range(40):
            take_in(shell, {**losing, "turn": astuple(replace(turn, root=f"r{number}"))})
        seen.append(await story.ask([user(EASY + " Please.")]))

    story.run(talk)
    assert [headers["x-weir-model"] for headers in seen] == [SMALL, MID]
    assert "savings_negative" in seen[1]["x-weir-reason"]
    assert b'weir_gate_off_total{scope="team:switch"} 1.0' in shell.telemetry.render()


def test_an_outcome_is_a_label_of_the_answers_that_led_to_it(story: Story) -> None:
    """`POST /weir/outcomes` counts for the task and size that answered, once each."""
    recall = story.app.shell.recall

    async def talk() -> None:
        for _ in range(2):
            await story.ask([user(EASY)], task="ticket-7")
            story.now += 700_000
        await story.post("/weir/outcomes", {"task": "ticket-7", "outcome": "rejected"})
        await story.post("/weir/outcomes", {"task": "nobody-knows", "outcome": "rejected"})

    story.run(talk)
    counts = [(mean.count, mean.good) for mean in recall.tasks._means.values()]
    assert counts == [(pytest.approx(1.0), 0.0)]


def test_machines_share_what_they_remember_over_a_server(tmp_path: Path) -> None:
    """The second machine goes on with a tool loop that the first began, where the first sent it,
    and knows what is warm there; the decision itself asks nobody."""
    with valkey() as url:
        (tmp_path / "other").mkdir()
        first, second = Story(tmp_path), Story(tmp_path / "other")
        for one in (first, second):
            shell = one.app.shell
            shell.feed = Feed(lambda: RedisChannel(url), shell.recall.apply)
        page = "The contract says many things about delivery, payment and notice. " * 400
        call = {
            "role": "assistant", "content": None,
            "tool_calls": [{"id": "c1", "type": "function",
                            "function": {"name": "f", "arguments": "{}"}}],
        }  # fmt: skip
        result = {"role": "tool", "tool_call_id": "c1", "content": "3"}
        asked = [user(EASY)]
        seen: list[dict[str, str]] = []

        async def story() -> None:
            await first.app.start()
            await second.app.start()
            seen.append(await first.ask(asked))
            await first.ask([user(page + HARD)])
            await asyncio.sleep(0.1)
            second.now = first.now + 5_000
            seen.append(await second.ask([*asked, call, result]))
            await second.app.stop()
            await first.app.stop()

        asyncio.run(story())
    assert [headers["x-weir-model"] for headers in seen] == [SMALL, SMALL]
    assert "tool_loop" in seen[1]["x-weir-reason"]
    assert len(second.app.shell.recall.warm) == len(first.app.shell.recall.warm) > 5


def test_the_defaults_are_those_of_a_first_request() -> None:
    """A decision without a past is that of a first request."""
    assert Thread() == Thread(number=1, turns_left=1.0, off={}, floor=None, easy=None)
