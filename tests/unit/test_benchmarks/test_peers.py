"""What the comparison installs, starts and asks for."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from benchmarks._load import Work, requests
from benchmarks._measure import everything_on
from benchmarks._mock import MODEL, Pace
from benchmarks._peers import PEERS, NotInstalled, Peer, Place, chosen, commands, install


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_pinned(peer: Peer) -> None:
    """A version stands in each requirement, and never one that was tampered with."""
    assert re.search(r"(==|@)\d+\.\d+\.\d+$", peer.spec)
    assert not re.search(r"litellm.*1\.82\.[78]$", peer.spec)
    assert any(peer.spec in command for command in commands(peer, Path("x")))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_told_its_port_and_the_mock(peer: Peer, tmp_path: Path) -> None:
    """The command, its environment, files and headers name both ports."""
    launch = peer.launch(Place(tmp_path / "home", tmp_path, 4_001, 4_002))
    said = " ".join([*launch.command, *launch.environ.values(), *peer.headers(4_002).values()])
    said += " ".join(path.read_text() for path in tmp_path.iterdir())
    assert "4001" in said
    assert "4002" in said


def test_npm_runs_no_scripts_of_packages() -> None:
    """Installing from npm starts nothing that a package brings."""
    for peer in PEERS:
        if peer.installer == "npm":
            assert all("--ignore-scripts" in command for command in commands(peer, Path("x")))


def test_peers_are_chosen_by_name() -> None:
    """No list means all, an empty one none, and a name that is not there is refused."""
    assert chosen(None) == PEERS
    assert chosen("") == ()
    assert [peer.name for peer in chosen("rolter, litellm")] == ["rolter", "litellm"]
    with pytest.raises(ValueError, match="there are litellm"):
        chosen("nginx")


def test_what_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an installer is missing or fails, the peer is named, and nothing counts as there."""
    peer = next(peer for peer in PEERS if peer.installer == "npm")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotInstalled, match="portkey: npm is not on this machine"):
        install(peer, tmp_path / "x", lambda _: None)
    (tmp_path / "npm").write_text("#!/bin/sh\necho no such version >&2\nexit 3\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"(?s)portkey: npm install .*no such version"):
        install(peer, tmp_path / "x", lambda _: None)
    assert not (tmp_path / "x" / ".installed").exists()


def test_what_is_there_is_not_installed_again(tmp_path: Path) -> None:
    """The same pin is a matter of reading one line."""
    (tmp_path / ".installed").write_text(PEERS[0].spec)
    said: list[str] = []
    install(PEERS[0], tmp_path, said.append)
    assert said == []


@pytest.mark.parametrize("size", [1_024, 32_768, 524_288])
def test_every_request_has_a_text_of_its_own(size: int) -> None:
    """Bodies are JSON of about the size asked for, and no two have the same messages."""
    work = Work(1, "key", MODEL, size, 1, stream=True, seconds=1, fresh=True, headers={"a": "b"})
    texts = set()
    for raw in itertools.islice(requests(work), 50):
        head, body = raw.split(b"\r\n\r\n", 1)
        assert b"\r\na: b\r\n" in head
        assert f"content-length: {len(body)}".encode() in head
        assert abs(len(body) - size) < 64
        read = json.loads(body)
        assert read["stream"] is True
        texts.add((read["messages"][0]["content"][10:], read["messages"][1]["content"]))
    assert len({first for first, _ in texts}) == len({second for _, second in texts}) == 50


def test_many_streams_are_paced_so_that_the_mock_keeps_up() -> None:
    """A hundred streams have an event every five milliseconds, a thousand one every fifty."""
    pace = Pace(0.005)
    pace.open = 100
    assert pace.wait() == pytest.approx(0.005)
    pace.open = 1_000
    assert pace.wait() == pytest.approx(0.05)


def test_a_gateway_that_leaves_work_out_is_found() -> None:
    """A receipt with fewer than three candidates, without a cost or without counts is told."""
    whole = {
        "candidates": [{}, {}, {}],
        "cost_usd": "0.0000876",
        "lines": [{}],
        "usage_source": "provider",
        "tokens": {"original_prompt": 214},
    }
    assert everything_on(whole) is None
    for wrong in (
        {"candidates": [{}]},
        {"cost_usd": "0"},
        {"usage_source": "estimated"},
        {"tokens": {"original_prompt": 0}},
    ):
        assert everything_on({**whole, **wrong}) is not None
