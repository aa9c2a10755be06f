"""A small server of sentence vectors on a real socket: TEI's wire and OpenAI's.

A vector counts the words of a text in hashed places, so that texts of the same words are near.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SAME = {"physician": "doctor", "remedy": "medicine", "ailing": "sick"}


@dataclass
class Embeddings:
    """How the server behaves, and what it was asked."""

    width: int = 64
    delay_s: float = 0.0
    status: int = 200
    broken: bytes | None = None
    most: int = 32
    url: str = ""
    batches: list[int] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def vector(self, text: str) -> list[float]:
        """Of any length; words that mean the same count in one place."""
        found = [0.0] * self.width
        for word in text.lower().replace(".", " ").replace("?", " ").split():
            found[zlib.crc32(SAME.get(word, word).encode()) % self.width] += 1.0
        return found


@contextmanager
def embedding_server(behaviour: Embeddings | None = None) -> Iterator[Embeddings]:
    """The server while the block runs."""
    told = behaviour or Embeddings()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            tei = self.path == "/embed"
            assert tei or self.path == "/v1/embeddings"
            texts = body["inputs"] if tei else body["input"]
            told.batches.append(len(texts))
            told.keys.add(self.headers.get("authorization", ""))
            time.sleep(told.delay_s)
            status = 413 if len(texts) > told.most else told.status
            vectors = [told.vector(text) for text in texts]
            rows = [{"index": n, "embedding": v} for n, v in enumerate(vectors)]
            said: object = vectors if tei else {"data": rows[::-1], "model": body["model"]}
            out = told.broken if told.broken is not None else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(out)))
            self.end_headers()
            self.wfile.write(out)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
