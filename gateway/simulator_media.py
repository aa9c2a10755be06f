"""The simulator's pictures, speech and transcripts: small, made of a hash, honestly metered.

Models of the gpt families report tokens, whisper the seconds of a WAV file, the others nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.simulator_store import multipart
from gateway.simulator_wire import SimError

MEDIA = ("/v1/images/", "/v1/audio/")
Count = Callable[[str], int]
Fields = Mapping[str, Any]
_JSON, _SSE = b"application/json", b"text/event-stream"
_RATE, _PICTURE_TOKENS, _SOUND_TOKENS_S = 24_000, 272, 10


@dataclass(frozen=True, slots=True)
class Made:
    """An answer and what it cost: prompt and completion tokens."""

    model: str
    kind: bytes
    body: bytes
    prompt_tokens: int = 0
    completion_tokens: int = 0


def make(path: str, raw: bytes, content_type: str, count: Count) -> Made:
    """The answer to one request. Raises SimError."""
    fields = _fields(raw, content_type)
    model = str(fields.get("model") or "")
    if not model:
        raise SimError("you must provide a model parameter", param="model")
    if path.startswith("/v1/images/"):
        return _pictures(model, fields, count)
    if path == "/v1/audio/speech":
        return _speech(model, fields, count)
    if path in {"/v1/audio/transcriptions", "/v1/audio/translations"}:
        return _transcript(model, fields)
    raise SimError(f"Invalid URL ({path})", status=404)


def _fields(raw: bytes, content_type: str) -> Fields:
    if content_type.startswith("multipart/"):
        parts = multipart(raw, content_type)
        return {n: data if name else data.decode() for n, (name, data) in parts.items()}
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise SimError("We could not parse the JSON body of your request.") from error
    if not isinstance(found, dict):
        raise SimError("The request body must be a JSON object.")
    return found


def _pictures(model: str, fields: Fields, count: Count) -> Made:
    number = int(fields.get("n") or 1)
    prompt = str(fields.get("prompt") or "")
    digest = hashlib.blake2b(prompt.encode()).digest()
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + digest).decode()
    inside = sum(isinstance(value, bytes) for value in fields.values()) * 100
    usage: dict[str, Any] = {
        "input_tokens": count(prompt) + inside,
        "input_tokens_details": {"text_tokens": count(prompt), "image_tokens": inside},
        "output_tokens": number * _PICTURE_TOKENS,
        "total_tokens": count(prompt) + inside + number * _PICTURE_TOKENS,
    }
    metered = model.startswith("gpt-image")
    tokens = (usage["input_tokens"], usage["output_tokens"]) if metered else (0, 0)
    if fields.get("stream"):
        done = {"type": "image_generation.completed", "b64_json": picture, "usage": usage}
        part = {"type": "image_generation.partial_image", "b64_json": picture[:8]}
        return Made(model, _SSE, _events(part, done), *tokens)
    said: dict[str, Any] = {"created": 1, "data": [{"b64_json": picture}] * number}
    return Made(
        model,
        _JSON,
        json.dumps({**said, **({"usage": usage} if metered else {})}).encode(),
        *tokens,
    )


def _speech(model: str, fields: Fields, count: Count) -> Made:
    text = str(fields.get("input") or "")
    if not text:
        raise SimError("Missing required parameter: 'input'.", param="input")
    seconds = len(text) / 15
    sound = wav(seconds)
    prompt, made = count(text), int(seconds * _SOUND_TOKENS_S)
    tokens = (prompt, made) if model.startswith("gpt") else (0, 0)
    if fields.get("stream_format") == "sse":
        usage = {"input_tokens": prompt, "output_tokens": made, "total_tokens": prompt + made}
        piece = base64.b64encode(sound[:64]).decode()
        delta = {"type": "speech.audio.delta", "audio": piece}
        return Made(
            model, _SSE, _events(delta, {"type": "speech.audio.done", "usage": usage}), *tokens
        )
    return Made(model, b"audio/wav", sound, *tokens)


def _transcript(model: str, fields: Fields) -> Made:
    data = fields.get("file")
    if not isinstance(data, bytes):
        raise SimError("Missing required parameter: 'file'.", param="file")
    seconds = max(0, len(data) - 44) / (2 * _RATE)
    text = "The pump was inspected on Monday."
    if fields.get("response_format") == "text":
        return Made(model, b"text/plain", f"{text}\n".encode())
    if not model.startswith("gpt"):
        usage: dict[str, Any] = {"type": "duration", "seconds": int(seconds) + 1}
        return Made(model, _JSON, json.dumps({"text": text, "usage": usage}).encode())
    heard, said = int(seconds * _SOUND_TOKENS_S), 7
    usage = {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": said,
        "total_tokens": heard + said,
    }
    if fields.get("stream") == "true":
        delta = {"type": "transcript.text.delta", "delta": text}
        done = {"type": "transcript.text.done", "text": text, "usage": usage}
        return Made(model, _SSE, _events(delta, done), heard, said)
    return Made(model, _JSON, json.dumps({"text": text, "usage": usage}).encode(), heard, said)


def wav(seconds: float) -> bytes:
    """Silence."""
    size = int(seconds * _RATE) * 2
    head = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, _RATE, 2 * _RATE, 2, 16
    )
    return head + struct.pack("<4sI", b"data", size) + bytes(size)


def _events(*said: Mapping[str, Any]) -> bytes:
    return b"".join(f"event: {s['type']}\ndata: {json.dumps(s)}\n\n".encode() for s in said)
