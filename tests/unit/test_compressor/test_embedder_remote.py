"""A server of sentence vectors: asked in batches, each text once, and done without when away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from embedding_server import Embeddings, embedding_server

from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.embedder_remote import RemoteEmbedder, Server
from compressor.errors import EmbedderAway
from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.recipe import Fitted, Recipe, Way
from compressor.tokens import load_counter

COUNTER = load_counter("o200k_base")


@pytest.fixture
def server() -> Iterator[Embeddings]:
    with embedding_server() as running:
        yield running


def embedder(server: Embeddings, wire: str = "tei", **options: float) -> RemoteEmbedder:
    base = server.url if wire == "tei" else server.url + "/v1"
    kind = "tei" if wire == "tei" else "openai"
    known = {"deadline_s": 10.0, **options}
    return RemoteEmbedder(Server(base, kind, "bge", "secret", **known))  # type: ignore[arg-type]


@pytest.mark.parametrize("wire", ["tei", "openai"])
def test_vectors_come_in_the_order_of_the_texts_and_of_length_one(
    wire: str, server: Embeddings
) -> None:
    """On both wires, over several batches, with the key that was given."""
    asked = embedder(server, wire)
    texts = [f"harbour number {n}" for n in range(80)]
    vectors = asked.embed(texts)
    wanted = np.array([server.vector(text) for text in texts], dtype=np.float32)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert np.allclose(vectors, wanted, atol=1e-6)
    assert vectors.dtype == np.float32
    assert sorted(server.batches) == [16, 32, 32]
    assert server.keys == {"Bearer secret"}
    asked.close()


def test_a_text_is_asked_for_once(server: Embeddings) -> None:
    """Twice in a call, and again in the next one: the server sees it once."""
    asked = embedder(server)
    first = asked.embed(["a b", "c", "a b"])
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(asked.embed(["c", "a b", "new"])[:2], first[1::-1])
    assert server.batches == [2, 1]
    assert asked.embed([]).shape == (0, 0)
    asked.close()


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ({"status": 503}, "503"),
        ({"broken": b"<html>"}, "strange"),
        ({"broken": b"[[1, 2]]"}, "strange"),
        ({"broken": b'{"error": "x"}'}, "strange"),
        ({"delay_s": 1.0}, "ReadTimeout"),
        ({"most": 1}, "413"),
    ],
    ids=["busy", "html", "too few", "error", "slow", "too many"],
)
def test_whatever_goes_wrong_is_one_error_and_then_a_pause(
    behaviour: dict[str, object], said: str
) -> None:
    """Nobody waits for it again before the pause is over; then it is asked anew."""
    with embedding_server(Embeddings(**behaviour)) as server:  # type: ignore[arg-type]
        asked = embedder(server, deadline_s=0.3, pause_s=0.5)
        with pytest.raises(EmbedderAway, match=said):
            asked.embed(["a", "b"])
        calls, began = len(server.batches), time.monotonic()
        with pytest.raises(EmbedderAway, match="lately"):
            asked.embed(["a", "b"])
        assert len(server.batches) == calls
        assert time.monotonic() - began < 0.2
        server.status, server.broken, server.delay_s, server.most = 200, None, 0.0, 32
        time.sleep(0.6)
        assert asked.embed(["a", "b"]).shape == (2, 64)
        asked.close()


def test_what_came_before_the_time_was_up_is_kept_for_the_next_turn() -> None:
    """Too many texts for the deadline are no reason to pause, and are asked for only once."""
    with embedding_server(Embeddings(delay_s=0.3)) as server:
        asked = embedder(server, deadline_s=0.8, parallel=1, pause_s=0.0)
        texts = [f"text {n}" for n in range(160)]
        for _ in range(10):
            with suppress(EmbedderAway):
                asked.embed(texts)
        assert asked.embed(texts).shape == (160, 64)
        assert 5 <= len(server.batches) < 5 * 5  # and not all anew each time
        asked.close()


def test_a_server_that_is_not_there_costs_no_time() -> None:
    """A refused connection is known at once."""
    asked = RemoteEmbedder(Server("http://127.0.0.1:9"))
    began = time.monotonic()
    with pytest.raises(EmbedderAway, match="ConnectError"):
        asked.embed(["a"])
    assert time.monotonic() - began < 1.5
    asked.close()


def test_another_model_behind_the_address_is_noticed(server: Embeddings) -> None:
    """Vectors of another length are never compared with remembered ones."""
    asked = embedder(server, pause_s=0.0)
    asked.embed(["a"])
    server.width = 32
    with pytest.raises(EmbedderAway, match="length"):
        asked.embed(["a", "b"])
    assert asked.embed(["a", "b"]).shape == (2, 32)
    asked.close()


def trimmed(ranker: RemoteEmbedder | None) -> Fitted:
    """A document whose one answer shares no word with the question."""
    filler = [
        f"Paragraph {n} tells of the harbour, of its ships and of the wind on that day. " * 6
        for n in range(60)
    ]
    filler[31] = "The doctor brought medicine for the sick. " * 3
    words = "\n\n".join(filler) + "\n\nWho of them had a remedy, which physician, which ailing?"
    message = Message("user", (Part(PartKind.TEXT, words, ("messages", 0, "content")),))
    conversation = Conversation((message,))
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    recipe = Recipe(Way.TRIM, 900, time_limit_ms=60_000)
    return fit(conversation, measured, recipe, Kit(COUNTER, ranker=ranker))


def test_a_trim_ranks_with_the_server_and_does_without_when_it_is_away() -> None:
    """While it is away the bytes are those of a fit that has none, and nothing fails."""
    with embedding_server() as server:
        asked = embedder(server, deadline_s=5.0)
        near = trimmed(asked)
        assert server.batches
        assert "brought medicine" in near.edits[0].text
        asked.close()
    away = embedder(server, deadline_s=0.5)
    assert trimmed(away) == trimmed(None)
    away.close()
