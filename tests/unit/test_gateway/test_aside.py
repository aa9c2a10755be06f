"""Work on big bodies by helper processes: the same results, and no request lost with one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import FACT, ask, prose

from compressor.kit import Kit
from compressor.media import media_rule
from compressor.memory import MemoryStore
from compressor.recipe import Recipe, Way
from compressor.summarize import ExtractiveSummarizer
from compressor.tokens import load_counter
from gateway.aside import HERE, LOST, Helper, Helpers, Lost
from gateway.exchange import ChatRequest, ClientHeaders
from gateway.snapshot import Gauge
from gateway.wire import chat

COUNTER = load_counter("o200k_base")
GAUGE = Gauge(COUNTER, media_rule("openai_tiles"), "o200k_base", 1.0)
TRIM = Recipe(Way.TRIM, target_tokens=4_000)


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    """At most two helpers, ended after the test."""
    found = Helpers(2)
    yield found
    found.close()


def asked(paragraphs: int = 200) -> ChatRequest:
    """A request about a document."""
    return chat.parse(json.dumps(ask(prose(paragraphs))).encode(), ClientHeaders())


def history(turns: int = 40) -> ChatRequest:
    """A conversation of some length, with a question at its end."""
    rows = prose(turns * 8).split("\n\n")
    messages = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": "\n\n".join(rows[n::turns])}
        for n in range(turns)
    ]
    messages.append({"role": "user", "content": "And what do you make of it all?"})
    body = {"model": "gpt-6.1-sol", "messages": messages}
    return chat.parse(json.dumps(body).encode(), ClientHeaders())


def kit(**more: object) -> Kit:
    """What a fit may use."""
    return Kit(COUNTER, summarizer=ExtractiveSummarizer(None), **more)  # type: ignore[arg-type]


def test_a_helper_gives_what_the_same_work_gives_here(helpers: Helpers) -> None:
    """Size, cuts, findings and the edited body are equal, byte for byte."""
    request = asked()
    with helpers.craft(request.conversation, GAUGE) as craft:
        size = craft.measure(request.conversation, GAUGE)
        fitted = craft.fit(request.conversation, size, TRIM, kit())
        findings = craft.scan(request.conversation)
        body = craft.edited(request.raw, fitted.edits, {"model": "other"})
    assert size == HERE.measure(request.conversation, GAUGE)
    assert fitted == HERE.fit(request.conversation, size, TRIM, kit())
    assert fitted.refused is None
    assert findings == HERE.scan(request.conversation)
    assert body == HERE.edited(request.raw, fitted.edits, {"model": "other"})
    assert FACT.encode() in body


def test_a_teams_memory_stays_here_and_is_asked_for(helpers: Helpers) -> None:
    """Memories of a helper's fit lie in this process, and the next helper finds them."""
    request = history()
    recipe = Recipe(Way.COMPRESS, target_tokens=6_000, keep_recent=1_000)
    stores = MemoryStore(time.monotonic), MemoryStore(time.monotonic)
    size = HERE.measure(request.conversation, GAUGE)
    here = HERE.fit(
        request.conversation, size, recipe, kit(memory=stores[0].for_team("a"), session="s")
    )
    with helpers.craft(request.conversation, GAUGE, "s") as craft:
        mine = kit(memory=stores[1].for_team("a"), session="s")
        there = craft.fit(request.conversation, size, recipe, mine)
    assert here == there
    assert here.way is Way.COMPRESS
    assert stores[0]._rooms["a"].keys() == stores[1]._rooms["a"].keys()


def test_a_helper_that_is_killed_costs_no_request(helpers: Helpers) -> None:
    """The fit is refused, the rest is done here, and the next request has a new helper."""
    request = asked(60)
    size = HERE.measure(request.conversation, GAUGE)
    with helpers.craft(request.conversation, GAUGE) as craft:
        assert craft.helper is not None
        first = craft.helper.process.pid
        os.kill(first, signal.SIGKILL)
        assert craft.fit(request.conversation, size, TRIM, kit()).refused == LOST
        assert craft.measure(request.conversation, GAUGE) == size
        assert craft.scan(request.conversation) == HERE.scan(request.conversation)
        assert craft.edited(request.raw, (), {"model": "m"})
    with helpers.craft(request.conversation, GAUGE) as craft:
        assert craft.helper is not None
        assert craft.helper.process.pid != first
        assert craft.fit(request.conversation, size, TRIM, kit()).refused is None


def test_one_killed_at_its_work_is_noticed_at_once(helpers: Helpers) -> None:
    """Nobody waits for the answer of a dead process."""
    request = asked(1_000)
    with helpers.craft(request.conversation, GAUGE) as craft:
        size = craft.measure(request.conversation, GAUGE)
        assert craft.helper is not None
        threading.Timer(0.05, craft.helper.process.kill).start()
        began = time.monotonic()
        fitted = craft.fit(request.conversation, size, TRIM, kit())
    assert fitted.refused in {LOST, None}
    assert time.monotonic() - began < 30


def test_what_fails_inside_is_told_and_the_helper_lives(helpers: Helpers) -> None:
    """An exception in a helper ends that piece of work alone."""
    request = asked(60)
    with helpers.craft(request.conversation, GAUGE) as craft:
        assert craft.helper is not None
        with pytest.raises(Lost):
            craft.helper.ask("edited", None, b"no json", (), {})
        assert craft.helper.ask("edited", None, b"{}", (), {"a": 1}) == b'{"a":1}'


def test_a_session_comes_back_to_its_helper_and_the_number_is_bounded(helpers: Helpers) -> None:
    """What a helper remembers of a conversation is of use, and no third one is started."""
    request = asked(20)
    with (
        helpers.craft(request.conversation, GAUGE, "a") as one,
        helpers.craft(request.conversation, GAUGE, "b") as other,
    ):
        assert one.helper is not None
        assert other.helper is not None
        pids = {"a": one.helper.process.pid, "b": other.helper.process.pid}
    assert len(set(pids.values())) == 2
    for session in ("b", "a", "a", "b"):
        with helpers.craft(request.conversation, GAUGE, session) as craft:
            assert craft.helper is not None
            assert craft.helper.process.pid == pids[session]
    with helpers.craft(request.conversation, GAUGE, "c") as craft:
        assert craft.helper is not None
        assert craft.helper.process.pid in pids.values()


def test_models_of_this_process_are_not_sent_away(helpers: Helpers) -> None:
    """Where a fit ranks with an embedder, the fit is made here."""

    class Flat:
        name = "flat"

        def embed(self, texts: list[str]) -> object:
            raise RuntimeError("asked here")

    request = asked(60)
    size = HERE.measure(request.conversation, GAUGE)
    with helpers.craft(request.conversation, GAUGE) as craft:
        fitted = craft.fit(request.conversation, size, TRIM, kit(embedder=Flat()))
    assert fitted.refused == "failed"


def test_after_the_end_the_work_is_done_here(helpers: Helpers) -> None:
    """A request that comes while the gateway ends is measured, and goes whole."""
    helpers.close()
    request = asked(20)
    size = HERE.measure(request.conversation, GAUGE)
    with helpers.craft(request.conversation, GAUGE) as craft:
        assert craft.measure(request.conversation, GAUGE) == size
        assert craft.fit(request.conversation, size, TRIM, kit()).refused is not None


def test_a_helper_does_not_outlive_its_parent() -> None:
    """Kill the gateway hard: its helpers end by themselves."""
    code = (
        "import time; from gateway.aside import Helper; h = Helper();"
        "print(h.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until and _runs(child):
        time.sleep(0.05)
    assert not _runs(child)


def test_an_interrupt_is_the_parents_business() -> None:
    """Ctrl-C reaches the whole group; a helper goes on until its parent ends it."""
    helper = Helper()
    assert helper.ask("edited", None, b'{"a": 1}', (), {"a": 2}) == b'{"a":2}'
    helper.process.send_signal(signal.SIGINT)
    assert helper.ask("edited", None, b'{"a": 1}', (), {"a": 3}) == b'{"a":3}'
    helper.end()
    assert helper.process.returncode == -signal.SIGKILL


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    return False
