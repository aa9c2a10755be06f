"""`record.bodies`: an audit shows what was cut while the policy says so, and to no one else."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from documents import QUESTION, prose
from engines import postgresql
from processes import House, Key, config_for, gateway, simulator

from billing.bodies import Bodies, Kept

KEPT, FREE, MAIN = Key.new(), Key.new(), Key.new()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One team keeps bodies, another has said never, the rest keep none."""
    folder: Path = tmp_path_factory.mktemp("bodies")
    teams = """
record: { bodies: 7 days }
teams:
  support: { keys: [main], record: { bodies: never } }
  kept: { keys: [kept], forbid: [route] }
  free: { keys: [free], record: { bodies: never } }
"""
    keys = f"  kept: {KEPT.hash}\n  free: {FREE.hash}"
    with simulator(folder) as provider:
        config = config_for(provider.url, folder, MAIN, teams, keys)
        with gateway(folder, config) as running:
            yield House(provider, running, MAIN, folder)


def asked(house: House, key: Key, text: str) -> tuple[str, dict[str, Any]]:
    """A request's id and its audit."""
    body = {
        "model": "gpt-6.1-sol",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": text}],
    }
    with house.client(authorization=f"Bearer {key.secret}") as client:
        answer: httpx.Response = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        request_id = answer.headers["x-weir-request-id"]
        return request_id, client.get(f"/weir/receipts/{request_id}/audit").json()


def stored(house: House, request_id: str) -> Kept | None:
    """What another process finds of a request, once it is written."""
    bodies = Bodies(f"sqlite:///{house.folder}/weir.db", lambda: time.time_ns() // 1_000_000)
    deadline = time.monotonic() + 10
    while (found := bodies.find(request_id, "kept")) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    bodies.close()
    return found


def test_what_was_cut_is_shown(house: House) -> None:
    """Each cut comes with the text it left out, from the request as it was received."""
    text = f"{prose()}\n\n{QUESTION}"
    request_id, found = asked(house, KEPT, text)
    assert found["action"] == "trim"
    assert found["texts"].startswith("kept")
    kept = stored(house, request_id)
    assert kept is not None
    assert json.loads(kept.received)["messages"][0]["content"] == text
    assert len(kept.sent) < len(kept.received) / 2
    assert kept.answer
    assert len(found["cuts"]) > 5
    for cut in found["cuts"]:
        assert cut["text"] == text[cut["start"] : cut["end"]]
    assert found["verified"] is True
    with house.client(authorization=f"Bearer {KEPT.secret}") as client:
        original = client.get(f"/weir/receipts/{request_id}/original")
        assert original.content == kept.received
        assert hashlib.sha256(original.content).hexdigest() == found["original_sha256"]
    with house.client(authorization=f"Bearer {FREE.secret}") as client:
        assert client.get(f"/weir/receipts/{request_id}/audit").status_code == 404


def test_never_is_never(house: House) -> None:
    """The nearest node decides: nothing of this team lies in the file."""
    marker = "zanzibar-marker-never-kept"
    _, found = asked(house, FREE, f"Say {marker}.")
    assert found["texts"] == "not kept"
    request_id, _ = asked(house, KEPT, "Say a word.")
    assert stored(house, request_id) is not None
    for path in house.folder.glob("weir.db*"):
        assert marker.encode() not in path.read_bytes()


@pytest.mark.slow
def test_postgresql_keeps_them_in_a_table(postgres_server: str) -> None:
    """The same on a server: kept, found, swept."""
    now = [2_000]
    one = Kept("r1", "t", 1_000, 61_000, b"received", b"sent", b"answer")
    with postgresql(postgres_server) as url:
        store = Bodies(url, lambda: now[0])
        store.keep(one)
        store.close()
        again = Bodies(url, lambda: now[0])
        assert again.find("r1", "t") == one
        now[0] = 61_000
        assert again.sweep() == 1
        assert again.find("r1", "t") is None
        again.close()
