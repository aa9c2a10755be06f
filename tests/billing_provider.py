"""A provider on a real socket that writes down what it bills before it answers.

What it does with a call is drawn from the call's own text, so that a run can be repeated.
It bills when it starts to answer, whether or not the answer arrives; each bill is one line in
a file, with the operating system before the first byte of the answer is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORDS = 12
_PAUSE_S = 0.012
RATES = {"main": (1000, 2000), "backed": (1000, 2000), "spare": (3000, 4000)}
"""Nano-USD a prompt and a completion token."""


@dataclass(frozen=True)
class Bill:
    """One call that was billed."""

    id: str
    tag: str
    model: str
    prompt: int
    completion: int

    @property
    def nano(self) -> int:
        """What it costs."""
        per_prompt, per_completion = RATES[self.model]
        return self.prompt * per_prompt + self.completion * per_completion


class BillingProvider:
    """Serves in a thread; ``bills`` is what its file says, ``idle`` whether nobody is served."""

    def __init__(self, path: Path, seed: int, host: str = "127.0.0.1") -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._path, self._seed, self._host = path, seed, host
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._serving = 0
        self.port = 0

    def __enter__(self) -> BillingProvider:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        os.close(self._file)

    @property
    def idle(self) -> bool:
        """No call is being served."""
        return self._serving == 0

    def bills(self) -> list[Bill]:
        """Everything billed so far, in order."""
        return [Bill(**json.loads(line)) for line in self._path.read_text().splitlines()]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, self._host, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                body = await self._request(reader)
                self._serving += 1
                try:
                    await self._answer(writer, body)
                    await writer.drain()
                finally:
                    self._serving -= 1
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader) -> Mapping[str, Any]:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        length = next(line for line in lines if line.startswith("content-length:"))
        body: Mapping[str, Any] = json.loads(await reader.readexactly(int(length[15:])))
        return body

    async def _answer(self, writer: asyncio.StreamWriter, body: Mapping[str, Any]) -> None:
        tag, model = str(body["messages"][-1]["content"]).split()[0], body["model"]
        chance = random.Random(f"{self._seed}-{tag}-{model}")
        fate = chance.random() if model == "backed" else 1.0
        await asyncio.sleep(chance.random() * 0.05)
        if fate < 0.25:
            _plain(writer, 503, b'{"error": {"message": "overloaded"}}')
            return
        if fate < 0.35:
            writer.transport.abort()
            return
        bill = Bill(f"chatcmpl-{chance.getrandbits(60):015x}", tag, model,
                    chance.randint(3, 9), chance.randint(1, WORDS))  # fmt: skip
        os.write(self._file, json.dumps(vars(bill)).encode() + b"\n")
        if fate < 0.55:  # made and billed, and then the machine dies
            await asyncio.sleep(0.4)
            writer.transport.abort()
        elif body.get("stream"):
            await _stream(writer, bill)
        else:
            await asyncio.sleep(chance.random() * 0.1)
            _plain(writer, 200, _whole(bill))


def _usage(bill: Bill) -> dict[str, int]:
    return {"prompt_tokens": bill.prompt, "completion_tokens": bill.completion}


def _plain(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    writer.write(
        b"HTTP/1.1 %d S\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (status, len(body), body)
    )


def _whole(bill: Bill) -> bytes:
    message = {"role": "assistant", "content": "word " * bill.completion}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = {"id": bill.id, "model": bill.model, "choices": [choice], "usage": _usage(bill)}
    return json.dumps(whole).encode()


async def _stream(writer: asyncio.StreamWriter, bill: Bill) -> None:
    writer.write(
        b"HTTP/1.1 200 S\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )

    def event(**more: object) -> None:
        data = b"data: %b\n\n" % json.dumps({"id": bill.id, "model": bill.model, **more}).encode()
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    for _ in range(bill.completion):
        event(choices=[{"index": 0, "delta": {"content": "word "}, "finish_reason": None}])
        await writer.drain()
        await asyncio.sleep(_PAUSE_S)
    event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    event(choices=[], usage=_usage(bill))
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
