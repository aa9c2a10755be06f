"""The trail of a fit: what was dropped, by which bytes it can be checked, and what was hidden.

A receipt keeps places, hashes and scores, never texts. Where policy keeps bodies, the
original is there byte for byte: its hash is checked against the receipt's, and every dropped
piece against the hash of its cut, so that an audit shows what was sent and what was not, or
says that it cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson

from billing.receipt import Receipt
from compressor.recipe import Fitted
from compressor.scan import Finding, summary

HIDDEN = "hidden_content"
HASHES = "sha256"


class KeptBodies(Protocol):
    """Where bodies are kept, by request and team."""

    def original(self, request_id: str, team: str) -> bytes | None:
        """The body as the client sent it, or None where it is not kept (any more)."""


def hidden(findings: Sequence[Finding]) -> tuple[Mapping[str, object], ...]:
    """The reason that says what a scan found, or nothing; a count a kind, never a text."""
    return ({"code": HIDDEN, **summary(tuple(findings))},) if findings else ()


def findings_json(findings: Sequence[Finding]) -> list[dict[str, object]]:
    """The findings with their places, for explain."""
    return [
        {
            "kind": finding.kind,
            "message": finding.message,
            "path": list(finding.path) if finding.path is not None else None,
            "start": finding.start,
            "count": finding.count,
            "chars": finding.chars,
        }
        for finding in findings
    ]


def hashes(original: bytes, sent: bytes, fitted: Fitted | None) -> Mapping[str, object]:
    """The hashes of both bodies where a fit changed one, for the record of the decision."""
    if fitted is None or not fitted.edits:
        return {}
    return {HASHES: {"original": _sha256(original), "sent": _sha256(sent)}}


def audited(receipt: Receipt, original: bytes | None) -> dict[str, Any]:
    """What was dropped or rewritten, and by what right one may believe it.

    ``original`` is the client's body where it was kept: then each cut carries its text, and
    ``verified`` says whether body and cuts are those of the receipt.
    """
    sums = receipt.decision.get(HASHES)
    known: Mapping[str, str] = sums if isinstance(sums, Mapping) else {}
    found = next((dict(r) for r in receipt.reasons if r.get("code") == HIDDEN), {})
    found.pop("code", None)
    cuts: list[dict[str, Any]] = [dict(cut) for cut in receipt.cuts]
    told: dict[str, Any] = {
        "request_id": receipt.request_id,
        "action": receipt.action,
        "original_prompt_tokens": receipt.original_prompt_tokens,
        "sent_prompt_tokens": receipt.sent_prompt_tokens,
        "dropped_tokens": sum(int(cut["tokens"]) for cut in cuts),
        "by_way": _by_way(cuts),
        "sha256": dict(known) or None,
        "hidden": found,
        "cuts": cuts,
        "texts": "not kept",
        "verified": None,
    }
    if original is not None:
        whole = _with_texts(cuts, original)
        same = not known or known.get("original") == _sha256(original)
        told |= {"texts": "kept", "verified": whole and same}
    return told


def _by_way(cuts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    ways: dict[str, dict[str, int]] = {}
    for cut in cuts:
        row = ways.setdefault(str(cut["way"]), {"pieces": 0, "tokens": 0})
        row["pieces"] += 1
        row["tokens"] += int(cut["tokens"])
    return ways


def _with_texts(cuts: Sequence[dict[str, Any]], original: bytes) -> bool:
    """Each cut with the text that it dropped; whether all of them are what the hashes say."""
    try:
        body = orjson.loads(original)
    except orjson.JSONDecodeError:
        return False
    whole = True
    for cut in cuts:
        text = _at(body, cut["path"])
        piece = None if text is None else text[int(cut["start"]) : int(cut["end"])]
        same = piece is not None and _sha256(piece.encode("utf-8", "surrogatepass")) == cut[HASHES]
        cut["text"] = piece if same else None
        whole = whole and same
    return whole


def _at(body: Any, path: Sequence[str | int]) -> str | None:
    for step in path:
        try:
            body = body[step]
        except (KeyError, IndexError, TypeError):
            return None
    return body if isinstance(body, str) else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
