"""The demo's client and its bundled prompts."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from compressor.tokens import load_counter
from gateway.demo_traffic import bundled, is_large, lanes, send_one
from gateway.simulator import SimSettings, create_simulator
from gateway.simulator_wire import parse_chat

FREE = {
    "Apache-2.0",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC0-1.0; stories public domain (US)",
    "MIT",
    "MIT; AMI corpus CC-BY-4.0",
    "Public domain / CC0-1.0",
    "Public domain / CC0-1.0; Apache-2.0",
}
NOTICE_NAMES = {  # how a source of the file is called in NOTICE
    "llmrouter/trivia_qa": "TriviaQA",
    "llmrouter/commonsense_qa": "CommonsenseQA",
    "llmrouter/openbook_qa": "OpenBookQA",
    "llmrouter/commongen": "CommonGen",
    "llmrouter/math": "MATH",
    "llmrouter/mbpp": "MBPP",
    "routellm/mmlu": "MMLU",
    "routellm/gsm8k": "GSM8K",
    "mmlu_pro": "MMLU-Pro",
    "Tokenweir": "Tokenweir",
    "tau-bench airline agent sessions": "tau-bench",
    "tau-bench retail-orders": "tau-bench",
    "tau-bench retail-orders-long": "tau-bench",
    "kv-retrieval (lost-in-the-middle)": "Lost in the Middle",
    "SWE-smith test logs": "SWE-smith",
    "QMSum/Product": "QMSum",
    "latent needles (own) in Gutenberg stories": "Science fiction stories",
    "docstring-to-function (pallets/click)": "click",
    "LongChat topics": "LongChat",
    "Python PEPs": "Python PEPs",
    "Python PEPs; turns by Tokenweir": "Python PEPs",
}


def test_the_bundled_prompts_are_many_and_of_every_kind() -> None:
    """At least 60 prompts with distinct ids: short, reasoning, code, tools, documents, session."""
    items = bundled()
    kinds = Counter(item["kind"] for item in items)
    assert len({item["id"] for item in items}) == len(items) >= 60
    assert set(kinds) == {"short", "reasoning", "code", "tools", "document", "session"}
    assert min(kinds.values()) >= 6
    assert kinds["session"] >= 8


def test_every_prompt_may_be_passed_on_and_is_named_in_the_notice() -> None:
    """Each line has a free licence, and NOTICE names its source."""
    notice = Path(__file__).parents[3].joinpath("NOTICE").read_text(encoding="utf-8")
    for item in bundled():
        assert item["licence"] in FREE, item["id"]
        assert NOTICE_NAMES[item["source"]] in notice, item["id"]


def test_the_file_is_small() -> None:
    """The package carries less than 1.5 MB of prompts."""
    assert len(files("gateway").joinpath("data/demo.jsonl.xz").read_bytes()) < 1_500_000


def test_every_prompt_is_a_body_that_a_provider_accepts() -> None:
    """The simulator's own parser, written apart from the gateway's, reads all of them."""
    for item in bundled():
        request = parse_chat(item["body"])
        assert request.model in {"auto", "gpt-6-luna", "gpt-6.1-sol", "gemini-4-argon"}


def test_the_session_grows_turn_by_turn_past_the_recent_window() -> None:
    """Each turn's messages start with all of the turn before; the last is far over 4,096 tokens."""
    turns = [
        item["body"]["messages"] for item in bundled() if item.get("session") == "reading-group"
    ]
    for before, after in pairwise(turns):
        assert after[: len(before)] == before
    text = "\n".join(message["content"] for message in turns[-1])
    assert load_counter("o200k_base").count(text) > 4 * 4096


def test_a_session_or_a_shared_document_is_one_lane_in_order() -> None:
    """What warms another prompt's cache never races it; all else stands alone."""
    items: list[dict[str, Any]] = [{"id": 1}, {"id": 2, "session": "s"}, {"id": 3, "lane": "d"}]
    items += [
        {"id": 4, "session": "s"},
        {"id": 5},
        {"id": 6, "lane": "d"},
        {"id": 7, "session": "s"},
    ]
    ids = [[item["id"] for item in lane] for lane in lanes(items)]
    assert ids == [[2, 4, 7], [3, 6], [1], [5]]


def test_long_documents_count_as_large_and_short_questions_do_not() -> None:
    """Every short prompt may go beside others; the longest documents may not."""
    items = bundled()
    assert not any(
        is_large(item) for item in items if item["kind"] in {"short", "reasoning", "code"}
    )
    assert all(is_large(item) for item in items if item["id"].startswith(("peps", "latent")))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_read_to_its_end(stream: bool) -> None:
    """A whole and a streamed answer both count as fine."""
    app = create_simulator(SimSettings(), lambda: 1.0)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        sent = await send_one(client, {"id": "a", "kind": "short", "body": body})
    assert sent.fine
    assert app.tallies["m"].requests == 1


@pytest.mark.parametrize(
    ("status", "content", "stream", "error"),
    [
        (402, b'{"error": {"message": "spent"}}', False, "spent"),
        (200, b'data: {"choices": []}\n\n', True, "broke off"),
    ],
)
async def test_a_refusal_or_a_broken_stream_is_a_failure(
    status: int,
    content: bytes,
    stream: bool,
    error: str,
) -> None:
    """What is not a whole answer is not fine, and says why."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["model"] == "m"
        assert request.headers["x-weir-session"] == "s"
        return httpx.Response(status, content=content, headers={"x-weir-request-id": "R1"})

    item = {"id": "a", "kind": "session", "session": "s", "body": {"model": "m", "stream": stream}}
    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://gw") as client:
        sent = await send_one(client, item)
    assert not sent.fine
    assert error in sent.error
    assert sent.request_id == "R1"


async def test_a_connection_that_fails_is_a_failure_not_an_exception() -> None:
    """Status 0 and the kind of failure are reported."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://gw") as client:
        sent = await send_one(client, {"id": "a", "kind": "short", "body": {"model": "m"}})
    assert (sent.status, sent.fine) == (0, False)
    assert "ConnectError" in sent.error
