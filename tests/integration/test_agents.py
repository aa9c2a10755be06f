"""Coding agents over a real socket: a session of forty turns on two kinds of upstream, and Codex.

Between gateway and provider stands a tap that notes every body as it went out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from fakes import FaultServer, sse
from processes import House, Key, Running, gateway, http, simulator

TURNS = 40
DIRECT, CROSSED = "claude-haiku-5-5", "gpt-6-luna"
CACHED = {"type": "ephemeral"}
TOOLS: list[dict[str, Any]] = [
    {
        "name": name,
        "description": f"{name} a file.",
        "input_schema": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "line": {"type": "integer"}},
            "required": ["path", "line"],
        },
    }
    for name in ("Read", "Edit", "Grep")
]
SYSTEM = [
    {"type": "text", "text": "You work in a terminal."},
    {"type": "text", "text": "Be brief and careful. " * 400, "cache_control": CACHED},
]


class Tap(ThreadingHTTPServer):
    """Passes requests on to a provider and notes their bodies."""

    daemon_threads = True

    def __init__(self, to: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.client = http(to)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Passing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """One request, whole."""
        tap: Tap = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers["content-length"]))
        tap.bodies.append(body)
        kept = ("content-type", "authorization", "x-api-key", "anthropic-version")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        answer = tap.client.post(self.path, content=body, headers=headers)
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers["content-type"])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *args: object) -> None:
        """Nothing is printed."""


@dataclass
class Agent:
    """The house, and the tap before its provider."""

    house: House
    tap: Tap


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One provider that speaks both wires, behind a tap, behind one gateway."""
    folder, key = tmp_path_factory.mktemp("agents"), Key.new()
    with simulator(folder) as provider:
        tap = Tap(provider.url)
        threading.Thread(target=tap.serve_forever, daemon=True).start()
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  anthropic: {{ kind: anthropic, base_url: "{tap.url}", api_key: sk-sim }}
  openai: {{ kind: openai, base_url: "{tap.url}/v1", api_key: sk-sim, provider: openai }}
models:
  {DIRECT}: {{ upstream: anthropic, tier: small }}
  {CROSSED}: {{ upstream: openai, tier: small }}
routing: {{ mode: route, baseline: {DIRECT} }}
fit: {{ allow: [lossless, trim, compress] }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield Agent(House(provider, running, key, folder), tap)
        tap.shutdown()
        tap.server_close()
        tap.client.close()


@dataclass
class Played:
    """What a session was like: tool calls, usage by turn, bodies as sent by us and by them."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    usage: list[Any] = field(default_factory=list)
    ours: list[bytes] = field(default_factory=list)
    theirs: list[bytes] = field(default_factory=list)


def play(agent: Agent, model: str) -> Played:
    """Forty turns as Claude Code makes them: streamed, every result sent back, the end marked."""
    played, start = Played(), len(agent.tap.bodies)

    def note(request: httpx2.Request) -> None:
        played.ours.append(request.read())

    http_client = httpx2.Client(trust_env=False, timeout=60, event_hooks={"request": [note]})
    messages: list[dict[str, Any]] = []
    with Anthropic(
        base_url=agent.house.gateway.url,
        auth_token=agent.house.key.secret,
        api_key=None,
        max_retries=0,
        http_client=http_client,
    ) as client:
        result: list[dict[str, Any]] = []
        for turn in range(TURNS):
            asked = {"type": "text", "text": f"Step {turn}: read line {turn} of module {turn}."}
            marked = {**asked, "cache_control": CACHED}
            sent = [*messages, {"role": "user", "content": [*result, marked]}]
            with client.messages.stream(
                model=model,
                max_tokens=2000,
                system=SYSTEM,  # type: ignore[arg-type]
                tools=TOOLS,  # type: ignore[arg-type]
                tool_choice={"type": "any"},
                metadata={"user_id": f"user_1_account__session_{model}"},
                messages=sent,  # type: ignore[arg-type]
            ) as stream:
                answer = stream.get_final_message()
            call = next(block for block in answer.content if block.type == "tool_use")
            played.calls.append((call.name, json.dumps(call.input, sort_keys=True)))
            played.usage.append(answer.usage)
            messages.append({"role": "user", "content": [*result, asked]})
            content = [block.model_dump(exclude_none=True) for block in answer.content]
            messages.append({"role": "assistant", "content": content})
            text = f"line {turn}: value = {turn * 17}"
            result = [{"type": "tool_result", "tool_use_id": call.id, "content": text}]
    played.theirs = agent.tap.bodies[start:]
    return played


@pytest.fixture(scope="module")
def sessions(agent: Agent) -> dict[str, Played]:
    """The same session on both kinds of upstream."""
    return {model: play(agent, model) for model in (DIRECT, CROSSED)}


@pytest.mark.slow
def test_both_kinds_of_upstream_are_asked_for_the_same_calls(sessions: dict[str, Played]) -> None:
    """Forty calls of the same tools with whole arguments, whichever wire they went over.

    Their values are not compared: the provider draws them from the bytes that it got.
    """
    direct, crossed = ([(n, set(json.loads(a))) for n, a in p.calls] for p in sessions.values())
    assert len(direct) == TURNS
    assert direct == crossed
    assert all(names == {"path", "line"} for _, names in direct)


@pytest.mark.slow
def test_the_same_wire_gets_the_agents_own_bytes(sessions: dict[str, Played]) -> None:
    """Nothing is rewritten on the way to an Anthropic upstream, so its cache stays whole."""
    played = sessions[DIRECT]
    assert played.theirs == played.ours
    for before, now in pairwise(played.usage):
        assert now.cache_read_input_tokens == (
            before.cache_read_input_tokens + before.cache_creation_input_tokens
        )


@pytest.mark.slow
def test_the_other_wire_gets_a_prefix_that_only_grows(sessions: dict[str, Played]) -> None:
    """What was sent in one turn stands unchanged at the beginning of the next, and is cached."""
    played = sessions[CROSSED]
    bodies = [json.loads(body) for body in played.theirs]
    assert len(bodies) == TURNS
    for before, now in pairwise(bodies):
        head = [json.dumps(message) for message in before["messages"]]
        assert [json.dumps(message) for message in now["messages"]][: len(head)] == head
        assert json.dumps(now["tools"]) == json.dumps(before["tools"])
    for before, now in pairwise(played.usage):
        prompt = before.input_tokens + before.cache_read_input_tokens
        # In whole blocks, and of the text alone: the frames around messages are not cached.
        assert before.cache_read_input_tokens <= now.cache_read_input_tokens <= prompt + 128
        assert now.cache_read_input_tokens >= 0.9 * prompt


@pytest.mark.slow
def test_a_sessions_receipts_are_what_its_answers_said(
    agent: Agent, sessions: dict[str, Played]
) -> None:
    """Each turn one receipt, by the session's name, cached tokens and all."""
    for model, played in sessions.items():
        with agent.house.client() as client:
            rows = client.get("/weir/receipts?limit=1000").json()["data"]
        mine = [row for row in rows if row["served_model"] == model]
        assert len(mine) == TURNS
        cached = sum(usage.cache_read_input_tokens for usage in played.usage)
        assert sum(row["tokens"]["cached"] for row in mine) == cached
        made = sum(usage.output_tokens for usage in played.usage)
        assert sum(row["tokens"]["completion"] for row in mine) == made


async def test_the_async_client_streams_and_sends_pictures(agent: Agent) -> None:
    """On both kinds of upstream, a picture beside the text."""
    dot = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
        "Jggg=="
    )
    source = {"type": "base64", "media_type": "image/png", "data": dot}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    async with AsyncAnthropic(
        base_url=agent.house.gateway.url, api_key=agent.house.key.secret, max_retries=0
    ) as client:
        for model in (DIRECT, CROSSED):
            async with client.messages.stream(
                model=model, max_tokens=100, messages=[{"role": "user", "content": content}]
            ) as stream:
                pieces = [text async for text in stream.text_stream]
                final = await stream.get_final_message()
            assert "".join(pieces)
            assert final.usage.input_tokens > 0


CODEX: dict[str, Any] = {
    "model": "codex",
    "instructions": "You work in a terminal. " * 40,
    "input": [
        {
            "type": "message",
            "role": "developer",
            "content": [{"type": "input_text", "text": "<permissions>read only</permissions>"}],
        },
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Why does the test fail?"}],
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABo", "content": None},
        {
            "type": "function_call",
            "name": "shell",
            "arguments": '{"command":["cat","t.py"]}',
            "call_id": "call_1",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "assert add(1, 1) == 3"},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command.",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                "required": ["command"],
            },
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Edits files.",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
        },
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199a213-81c0-7800-8aa1-bbab2a035a53",
    "text": {"verbosity": "medium"},
}
CODEX_HEADERS = {
    "openai-beta": "responses=experimental",
    "originator": "codex_cli_rs",
    "session_id": "0199a213-81c0-7800-8aa1-bbab2a035a53",
    "user-agent": "codex_cli_rs/0.60.0 (Linux; x86_64)",
    "accept": "text/event-stream",
}
CODEX_USAGE = {
    "input_tokens": 5000,
    "input_tokens_details": {"cached_tokens": 4096},
    "output_tokens": 60,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 5060,
}


def _event(kind: str, **members: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


CODEX_PATCH = {"type": "custom_tool_call", "name": "apply_patch", "call_id": "call_2", "id": "ctc"}
CODEX_EVENTS = [
    _event("response.created", response={"id": "resp_1", "status": "in_progress"}),
    _event("response.output_item.added", output_index=0, item={**CODEX_PATCH, "input": ""}),
    _event("response.custom_tool_call_input.delta", output_index=0, delta="*** Begin Patch"),
    _event("response.output_item.done", output_index=0, item={**CODEX_PATCH, "input": "*** x"}),
    _event(
        "response.completed",
        response={"id": "resp_1", "status": "completed", "model": "codex", "usage": CODEX_USAGE},
    ),
]


@pytest.fixture(scope="module")
def codex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultServer, Running, Key]]:
    """A provider whose every event is scripted."""
    folder, key = tmp_path_factory.mktemp("codex"), Key.new()
    with FaultServer({"codex": sse(*CODEX_EVENTS)}) as server:
        price = "price: { input: 1, output: 2, cache_read: 0.1 }, context_window: 200000"
        config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ o: {{ kind: openai, base_url: "{server.url}/v1", api_key: sk-o }} }}
models: {{ codex: {{ upstream: o, {price} }} }}
teams: {{ t: {{ keys: [main], budget: 100 per month }} }}
keys: {{ main: {key.hash} }}
"""
        with gateway(folder, config) as running:
            yield server, running, key


def test_codexs_requests_pass_byte_for_byte(codex: tuple[FaultServer, Running, Key]) -> None:
    """Encrypted reasoning, custom tools and events no reader knows, both ways; and the bill."""
    server, running, key = codex
    raw = json.dumps(CODEX, indent=1).encode()
    with http(running.url, **CODEX_HEADERS, authorization=f"Bearer {key.secret}") as client:
        answer = client.post("/v1/responses", content=raw)
        path = f"/weir/receipts/{answer.headers['x-weir-request-id']}"
        receipt = client.get(path).json()
    assert server.bodies["codex"] == raw
    assert answer.content == b"".join(CODEX_EVENTS)
    assert server.headers["codex"]["openai-beta"] == CODEX_HEADERS["openai-beta"]
    assert "session_id" not in server.headers["codex"]
    lines = {line["component"]: line["quantity"] for line in receipt["lines"]}
    assert lines == {"input": 904, "cache_read": 4096, "output": 20, "reasoning": 40}
