"""The simulator's files and batches: what is uploaded is kept, what is batched is served.

A batch is served when it is first asked for, and half of it when it is cancelled before. Its
rows are answered and counted like any request. ``custom_id`` says what goes wrong: one that
begins with ``expire`` is never served, ``silent`` is answered without a word of its usage,
``lost`` is served and missing in the output.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.simulator_wire import Json, SimError

# Answers one row: path and body in, status and body out. Counts what it serves.
Serve = Callable[[str, bytes], tuple[int, dict[str, Any]]]
_PART = re.compile(rb'name="(\w+)"(?:; filename="([^"]*)")?')
_JSON = b"application/json"


@dataclass(slots=True)
class _Batch:
    """A batch and its rows: custom id, path and body."""

    said: dict[str, Any]
    rows: list[tuple[str, str, bytes]]
    results: list[dict[str, Any]] = field(default_factory=list)
    looks: int = 0


@dataclass(slots=True)
class SimStore:
    """One provider's files and batches; ``serve`` answers a row, ``clock`` is epoch seconds."""

    serve: Serve
    clock: Callable[[], float]
    files: dict[str, tuple[dict[str, Any], bytes]] = field(default_factory=dict)
    batches: dict[str, _Batch] = field(default_factory=dict)

    def answer(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, bytes]:
        """Status, content type and body. Raises SimError."""
        steps = path.removeprefix("/v1/").split("/")
        if steps[0] == "files":
            return self._file(method, steps[1:], body, headers.get("content-type", ""))
        if steps[0] == "messages":
            return self._messages(method, steps[2:], body)
        return self._batch(method, steps[1:], body)

    def _file(
        self, method: str, steps: list[str], body: bytes, kind: str
    ) -> tuple[int, bytes, bytes]:
        if not steps and method == "POST":
            return _json(self._add(*_parts(body, kind)))
        if not steps:
            return _json(_list([said for said, _ in self.files.values()]))
        if steps[0] not in self.files:
            raise SimError(f"No such File object: {steps[0]}", status=404)
        said, data = self.files[steps[0]]
        if method == "DELETE":
            del self.files[steps[0]]
            return _json({"id": said["id"], "object": "file", "deleted": True})
        if steps[1:] == ["content"]:
            return 200, b"application/octet-stream", data
        return _json(said)

    def _add(self, purpose: str, name: str, data: bytes) -> dict[str, Any]:
        said = {
            "id": f"file-sim{len(self.files) + 1:06d}",
            "object": "file",
            "bytes": len(data),
            "created_at": int(self.clock()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self.files[str(said["id"])] = (said, data)
        return said

    def _batch(self, method: str, steps: list[str], body: bytes) -> tuple[int, bytes, bytes]:
        if not steps and method == "POST":
            return _json(self._create(json.loads(body)).said)
        if not steps:
            return _json(_list([batch.said for batch in self.batches.values()]))
        batch = self._known(steps[0])
        said = batch.said
        if steps[1:] == ["cancel"]:
            self._work(batch, len(batch.rows) // 2)
            self._finish(batch, "cancelled")
            return _json({**said, "status": "cancelling"})
        batch.looks += 1
        if batch.looks > 1 and said["status"] == "in_progress":
            self._work(batch, len(batch.rows))
            lost = any(name.startswith("expire") for name, _, _ in batch.rows)
            self._finish(batch, "expired" if lost else "completed")
        return _json(said)

    def _create(self, asked: Json) -> _Batch:
        file = self.files.get(str(asked.get("input_file_id")))
        if file is None:
            raise SimError("No such File object", status=404)
        rows = [json.loads(line) for line in file[1].splitlines() if line.strip()]
        said = {
            "id": f"batch_sim{len(self.batches) + 1:06d}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "errors": None,
            "input_file_id": asked["input_file_id"],
            "completion_window": asked.get("completion_window", "24h"),
            "status": "in_progress",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(self.clock()),
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        made = [(r["custom_id"], r["url"], json.dumps(r["body"]).encode()) for r in rows]
        self.batches[said["id"]] = batch = _Batch(said, made)
        return batch

    def _work(self, batch: _Batch, count: int) -> None:
        """The first rows are served."""
        for name, path, body in batch.rows[:count]:
            if name.startswith("expire"):
                continue
            status, answer = self.serve(path, body)
            if name.startswith("silent"):
                answer.pop("usage", None)
            batch.results.append({"custom_id": name, "status": status, "body": answer})

    def _finish(self, batch: _Batch, status: str) -> None:
        done = [one for one in batch.results if one["status"] == 200]
        served = {one["custom_id"] for one in batch.results}
        shown = [one for one in done if not one["custom_id"].startswith("lost")]
        rest = [one for one in batch.results if one["status"] != 200]
        wrong = [_row(one["custom_id"], one) for one in rest]
        code = {"code": f"batch_{status}", "message": "This request was not executed."}
        wrong += [_row(name, None, code) for name, _, _ in batch.rows if name not in served]
        good = [_row(one["custom_id"], one) for one in shown]
        for key, rows in (("output_file_id", good), ("error_file_id", wrong)):
            if rows:
                text = "\n".join(map(json.dumps, rows)).encode() + b"\n"
                batch.said[key] = self._add("batch_output", f"{key}.jsonl", text)["id"]
        batch.said["status"] = status
        batch.said["request_counts"] = {
            "total": len(batch.rows),
            "completed": len(done),
            "failed": len(batch.rows) - len(done),
        }

    def _messages(self, method: str, steps: list[str], body: bytes) -> tuple[int, bytes, bytes]:
        if not steps and method == "POST":
            return _json(self._create_messages(json.loads(body)).said)
        if not steps:
            return _json(_list([batch.said for batch in self.batches.values()]))
        batch = self._known(steps[0])
        if method == "DELETE":
            del self.batches[steps[0]]
            return _json({"id": steps[0], "type": "message_batch_deleted"})
        if steps[1:] == ["results"]:
            lines = [json.dumps(_result(one)) for one in batch.results]
            return 200, b"application/x-jsonl", "\n".join(lines).encode()
        batch.looks += 1
        if steps[1:] == ["cancel"]:
            self._end(batch, len(batch.rows) // 2)
            return _json({**batch.said, "processing_status": "canceling"})
        if batch.looks > 1 and batch.said["processing_status"] == "in_progress":
            self._end(batch, len(batch.rows))
        return _json(batch.said)

    def _create_messages(self, asked: Json) -> _Batch:
        rows = asked["requests"]
        said = {
            "id": f"msgbatch_sim{len(self.batches) + 1:06d}",
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": _counts(processing=len(rows)),
            "ended_at": None,
            "created_at": "2026-11-22T06:00:00Z",
            "expires_at": "2026-11-23T06:00:00Z",
            "cancel_initiated_at": None,
            "archived_at": None,
            "results_url": None,
        }
        made = [(r["custom_id"], "/v1/messages", json.dumps(r["params"]).encode()) for r in rows]
        self.batches[str(said["id"])] = batch = _Batch(said, made)
        return batch

    def _end(self, batch: _Batch, count: int) -> None:
        self._work(batch, count)
        done = {one["custom_id"] for one in batch.results}
        for name, _, _ in batch.rows:
            if name not in done:
                status = -1 if name.startswith("expire") else -2
                batch.results.append({"custom_id": name, "status": status, "body": {}})
        states = [one["status"] for one in batch.results]
        batch.said |= {
            "processing_status": "ended",
            "ended_at": "2026-11-22T06:30:00Z",
            "results_url": f"https://provider.invalid/v1/messages/batches/{batch.said['id']}/results",
            "request_counts": _counts(
                succeeded=states.count(200),
                expired=states.count(-1),
                canceled=states.count(-2),
                errored=sum(state >= 400 for state in states),
            ),
        }

    def _known(self, name: str) -> _Batch:
        if name not in self.batches:
            raise SimError(f"No batch found with id '{name}'.", status=404)
        return self.batches[name]


def _counts(**said: int) -> dict[str, int]:
    names = ("processing", "succeeded", "errored", "canceled", "expired")
    return {**dict.fromkeys(names, 0), **said}


def _row(name: str, one: Json | None, error: Json | None = None) -> dict[str, Any]:
    """A line of an OpenAI output or error file."""
    response = None
    if one is not None:
        response = {"status_code": one["status"], "request_id": f"req_{name}", "body": one["body"]}
    return {"id": f"batch_req_{name}", "custom_id": name, "response": response, "error": error}


def _result(one: Json) -> dict[str, Any]:
    """A line of Anthropic's results."""
    match one["status"]:
        case 200:
            result = {"type": "succeeded", "message": one["body"]}
        case -1:
            result = {"type": "expired"}
        case -2:
            result = {"type": "canceled"}
        case _:
            result = {"type": "errored", "error": one["body"]}
    return {"custom_id": one["custom_id"], "result": result}


def _list(data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": False}


def _json(said: Json) -> tuple[int, bytes, bytes]:
    return 200, _JSON, json.dumps(said).encode()


def _parts(body: bytes, kind: str) -> tuple[str, str, bytes]:
    """Purpose, file name and content of a multipart upload. Raises SimError."""
    fields = multipart(body, kind)
    name, data = fields.get("file", ("", b""))
    if "file" not in fields:
        raise SimError("Missing required parameter: 'file'.", param="file")
    return fields.get("purpose", ("", b""))[1].decode(), name, data


def multipart(body: bytes, kind: str) -> dict[str, tuple[str, bytes]]:
    """File name and content of each part, by its name."""
    found = re.search(r'boundary="?([^";]+)"?', kind)
    if found is None:
        raise SimError("Expected a multipart/form-data body.")
    fields: dict[str, tuple[str, bytes]] = {}
    for part in body.split(b"--" + found.group(1).encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        said = _PART.search(head)
        if said is not None:
            name = said.group(1).decode()
            fields[name] = ((said.group(2) or b"").decode(), data.removesuffix(b"\r\n"))
    return fields
