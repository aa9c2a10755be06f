"""A cheaper answer that fails a check is asked for once more, of the model asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fakes import FIVE, Fault, FaultServer, completion, error, event, plain, sse
from processes import Key, Running, gateway, http


def answered(message: dict[str, Any], finish: str = "stop") -> Fault:
    """A whole answer of one message."""
    body = json.loads(completion())
    body["choices"][0] |= {"message": {"role": "assistant", **message}, "finish_reason": finish}
    return plain(200, json.dumps(body).encode())


def called(name: str, arguments: str) -> Fault:
    """A whole answer of one call."""
    function = {"name": name, "arguments": arguments}
    call = {"id": "c", "type": "function", "function": function}
    return answered({"content": None, "tool_calls": [call]}, "tool_calls")


FAULTS: Mapping[str, Fault] = {
    "strong": plain(200, completion('{"well": true}')),
    "empty": answered({"content": ""}),
    "refusal": answered({"content": None, "refusal": "I cannot."}),
    "truncated": answered({"content": "It goes"}, "length"),
    "no-json": answered({"content": "Well, it is like this"}),
    "no-tool": called("unheard_of", "{}"),
    "no-object": called("look", "[1"),
    "good": answered({"content": "All well."}),
    "stream": sse(*FIVE, event(finish="length"), b"data: [DONE]\n\n"),
    "down": error(400, "no"),
}
LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


WEAK = tuple(name for name in FAULTS if name not in {"strong", "down"})


@dataclass(frozen=True)
class Asker:
    """A gateway whose teams have one small model each, which answers in one way."""

    running: Running
    keys: Mapping[str, Key]

    def __call__(
        self, team: str, model: str = "large", **more: object
    ) -> tuple[httpx.Response, dict[str, Any]]:
        """An answer and its receipt."""
        bearer = {"authorization": f"Bearer {self.keys[team].secret}"}
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}], **more}
        with http(self.running.url, **bearer) as client:
            answer = client.post("/v1/chat/completions", json=body)
            request_id = answer.headers["x-weir-request-id"]
            return answer, client.get(f"/weir/receipts/{request_id}").json()


def serve(folder: Path, server: FaultServer, strong: str, escalate: str) -> Iterator[Asker]:
    """The gateway; ``strong`` is how the model answers that is asked for."""
    keys = {name: Key.new() for name in WEAK}
    cheap, dear = "price: { input: 0.1, output: 0.2 }", "price: { input: 10, output: 20 }"
    models = [f"  {name}: {{ upstream: p, tier: small, {cheap} }}" for name in WEAK]
    teams = [f"  {name}: {{ keys: [{name}], allow: [{name}, large] }}" for name in WEAK]
    lines = [
        f"database: sqlite:///{folder}/{strong}.db",
        f"journal: {folder}/{strong}-journal",
        f'upstreams: {{ p: {{ kind: openai, base_url: "{server.url}/v1", retries: 0 }} }}',
        "models:",
        *models,
        f"  large: {{ upstream: p, model: {strong}, tier: mid, {dear} }}",
        "routing:",
        "  mode: route",
        "  baseline: large",
        "  quality: { floor: 50%, unproven: route }",
        f"  escalate: {escalate}",
        "limits: { max_output: 500 }",
        "teams:",
        *teams,
        "keys:",
        *(f"  {name}: {key.hash}" for name, key in keys.items()),
    ]
    with gateway(folder, "\n".join(lines)) as running:
        yield Asker(running, keys)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """The provider."""
    with FaultServer(FAULTS) as running:
        yield running


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory, server: FaultServer) -> Iterator[Asker]:
    """A gateway whose large model answers well."""
    yield from serve(tmp_path_factory.mktemp("up"), server, "strong", "on_fault")


@pytest.mark.parametrize(
    ("weak", "fault", "more"),
    [
        ("empty", "empty", {}),
        ("refusal", "refusal", {}),
        ("truncated", "truncated", {}),
        ("no-json", "broken_json", {"response_format": {"type": "json_object"}}),
        ("no-tool", "invalid_tool_call", {"tools": [LOOK]}),
        ("no-object", "invalid_tool_call", {"tools": [LOOK]}),
    ],
)
def test_a_faulty_answer_goes_up_once_and_both_are_billed(
    ask: Asker, weak: str, fault: str, more: dict[str, Any]
) -> None:
    """The client gets the asked-for model's answer; the receipt has both attempts and says why."""
    answer, receipt = ask(weak, **more)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == '{"well": true}'
    assert answer.headers["x-weir-model"] == "large"
    assert [a["model"] for a in receipt["attempts"]] == [weak, "large"]
    assert [a["state"] for a in receipt["attempts"]] == ["settled", "settled"]
    assert {"code": "escalated", "fault": fault, "model": "large"} in receipt["reasons"]
    assert receipt["cost_usd"] == "0.0002121"  # 11 and 5 tokens at both prices
    assert float(receipt["saved_usd"]) < 0


def test_a_sound_answer_and_a_stream_stay(ask: Asker) -> None:
    """Nothing is asked twice where nothing is wrong, or where it is on its way already."""
    answer, receipt = ask("good")
    assert [a["model"] for a in receipt["attempts"]] == ["good"]
    assert answer.json()["choices"][0]["message"]["content"] == "All well."
    _, receipt = ask("stream", stream=True)
    assert len(receipt["attempts"]) == 1


def test_a_model_asked_for_by_name_is_not_judged(ask: Asker) -> None:
    """Whoever asks for the small model gets its answer."""
    _, receipt = ask("empty", model="empty")
    assert len(receipt["attempts"]) == 1


def test_the_first_answer_stands_where_the_other_model_fails(
    tmp_path: Path, server: FaultServer
) -> None:
    """Better a poor answer than none; what it cost is on the receipt, the failure beside it."""
    for ask in serve(tmp_path, server, "down", "on_fault"):
        answer, receipt = ask("truncated")
        assert answer.status_code == 200
        assert answer.json()["choices"][0]["message"]["content"] == "It goes"
        assert (receipt["served_model"], receipt["status"]) == ("truncated", 200)
        assert [a["model"] for a in receipt["attempts"]] == ["large", "truncated"]
        assert receipt["cost_usd"] == "0.0000021"


def test_policy_switches_it_off(tmp_path: Path, server: FaultServer) -> None:
    """`escalate: never` lets a faulty answer out."""
    for ask in serve(tmp_path, server, "strong", "never"):
        _, receipt = ask("empty")
        assert len(receipt["attempts"]) == 1
