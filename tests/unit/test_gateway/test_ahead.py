"""Memories are made after a response, never in its way, and never for money."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from documents import prose
from fakes import FakeUpstream, plain_reply

from compressor.kit import Kit
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.summarizer_openai import Endpoint, OpenAISummarizer
from compressor.tokens import load_counter
from gateway.ahead import MOST_WAITING, Ahead
from gateway.app import create_app
from gateway.auth import hash_of
from gateway.exchange import Caller, ClientHeaders, Exchange
from gateway.pipeline import dry_run
from gateway.settings import parse
from gateway.snapshot import Gauge
from gateway.workers import Workers

NOW_MS = 1_780_272_000_000
COUNTER = load_counter("o200k_base")
GAUGE = Gauge(COUNTER, media_rule("openai_tiles"), "o200k_base", 1.0)
CONFIG = """
database: sqlite:///{folder}/weir.db
upstreams: {{ fake: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: k }} }}
models: {{ mid: {{ upstream: fake, price: {{ input: 1, output: 2 }}, context_window: 400000 }} }}
teams: {{ t: {{ keys: [k], forbid: [{forbid}] }} }}
keys: {{ k: {key} }}
"""


def body(turns: int = 24) -> bytes:
    text = prose(turns * 20).split("\n\n")
    messages = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": "\n\n".join(text[n::turns])}
        for n in range(turns)
    ]
    messages.append({"role": "user", "content": "Thank you! What do you make of all that?"})
    return json.dumps({"model": "mid", "max_tokens": 50, "messages": messages}).encode()


async def exchange(folder: Path, forbid: str = "") -> Exchange:
    """A request that was thought over by the real pipeline."""
    settings = parse(CONFIG.format(folder=folder, forbid=forbid, key=hash_of("s")), "w.yaml", {})
    upstream = FakeUpstream(plain_reply())
    app = create_app(settings, upstreams={"fake": upstream}, clock=lambda: NOW_MS)
    await app.start()
    try:
        key = next(iter(app.shell.snapshot.accounts.keys.values()))
        caller = Caller(key, None)
        ex = Exchange("r", NOW_MS, time.perf_counter(), "chat", ClientHeaders(), caller)
        await dry_run(app.shell, ex, body())
    finally:
        await app.stop()
    return ex


def kit(store: MemoryStore) -> Kit:
    return Kit(COUNTER, memory=store.for_team("t"))


async def test_a_long_conversation_is_remembered_after_its_answer(tmp_path: Path) -> None:
    """The store holds memories once the thread has come round to it."""
    ahead, store = Ahead(), MemoryStore(time.monotonic)
    ex = await exchange(tmp_path)
    ahead.after(ex, lambda: kit(store), GAUGE)
    assert ahead.idle(30)
    assert store.held_bytes > 1_000
    ahead.close()
    ahead.after(ex, lambda: kit(store), GAUGE)
    assert ahead.done == 1


async def test_a_big_one_is_remembered_by_a_helper(tmp_path: Path) -> None:
    """What a helper process makes lies in this one's store, the same as if made here."""
    ex = await exchange(tmp_path)
    stores = [MemoryStore(time.monotonic), MemoryStore(time.monotonic)]
    workers = Workers()
    aheads = [Ahead(), Ahead(workers.helpers)]
    for ahead, store in zip(aheads, stores, strict=True):
        ahead.after(ex, lambda store=store: kit(store), GAUGE)  # type: ignore[misc]
        assert ahead.idle(60)
        ahead.close()
    workers.close()
    here, there = (store._rooms["t"] for store in stores)
    assert {k: v.text for k, v in here.items()} == {k: v.text for k, v in there.items()}


@pytest.mark.parametrize("case", ["forbidden", "observed", "for-money"])
async def test_nothing_is_made_that_may_not_be_used(case: str, tmp_path: Path) -> None:
    """Not where compress is forbidden, nothing is changed, or a summary costs money."""
    ahead, store = Ahead(), MemoryStore(time.monotonic)
    ex = await exchange(tmp_path, "compress" if case == "forbidden" else "")
    if case == "observed":
        ex.arm = "observe"
    tools = kit(store)
    if case == "for-money":
        paid = OpenAISummarizer(Endpoint("http://127.0.0.1:9", "m", "k"), None)  # type: ignore[arg-type]
        tools = replace(tools, summarizer=paid)
    ahead.after(ex, lambda: tools, GAUGE)
    assert ahead.idle(10)
    assert (ahead.done, store.held_bytes) == (0, 0)


async def test_what_waits_is_bounded_and_the_newest_turn_stands_for_a_session(
    tmp_path: Path,
) -> None:
    """A flood leaves the oldest out; a session waits once."""
    ahead, store = Ahead(), MemoryStore(time.monotonic)
    ex = await exchange(tmp_path)
    ahead._thread = object()  # type: ignore[assignment]  # nobody works, so that all must wait
    for number in range(MOST_WAITING + 30):
        ex.session_key = f"s{number % (MOST_WAITING + 10)}"
        ahead.after(ex, lambda: kit(store), GAUGE)
    assert len(ahead._waiting) == MOST_WAITING
    assert not ahead.idle(0.01)
