"""The trail of a fit: what was dropped, by which bytes it can be checked, and what was hidden.

A receipt keeps places, hashes and scores, never texts. Where policy keeps bodies, the
original is there byte for byte: its hash is checked against the receipt's, and every dropped
piece against the hash of its cut, so that an audit shows what was sent and what was not, or
says that it cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from billing.bodies import Kept
from billing.originals import texts
from billing.receipt import Receipt, iso_ms
from compressor.recipe import Fitted
from compressor.scan import Finding, summary

HIDDEN = "hidden_content"
HASH = "original_sha256"


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


def hashes(original: bytes, fitted: Fitted | None) -> Mapping[str, object]:
    """The hash of the original where a fit changed it, for the record of the decision."""
    if fitted is None or not fitted.edits:
        return {}
    return {HASH: _sha256(original)}


def audited(receipt: Receipt, kept: Kept | None) -> dict[str, Any]:
    """What was dropped or rewritten, and by what right one may believe it.

    Where bodies were ``kept`` each cut carries its text, and ``verified`` says whether bodies
    and cuts are those of the receipt.
    """
    known = receipt.decision.get(HASH)
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
        "original_sha256": known,
        "hidden": found,
        "cuts": cuts,
        "texts": "not kept",
        "bodies": None,
        "verified": None,
    }
    if kept is not None:
        told |= {
            "texts": f"kept until {iso_ms(kept.expires_ms)}",
            "bodies": _bodies(kept),
            "verified": _with_texts(cuts, kept) and known in (None, _sha256(kept.received)),
        }
    return told


def _bodies(kept: Kept) -> dict[str, str]:
    """The kept bodies as text; what was sent is what was received where nothing changed it."""
    return {
        "received": kept.received.decode("utf-8", "replace"),
        "sent": (kept.sent or kept.received).decode("utf-8", "replace"),
        "answer": kept.answer.decode("utf-8", "replace"),
    }


def _by_way(cuts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    ways: dict[str, dict[str, int]] = {}
    for cut in cuts:
        row = ways.setdefault(str(cut["way"]), {"pieces": 0, "tokens": 0})
        row["pieces"] += 1
        row["tokens"] += int(cut["tokens"])
    return ways


def _with_texts(cuts: Sequence[dict[str, Any]], kept: Kept) -> bool:
    """Each cut with the text that it dropped; whether all of them are what the hashes say."""
    try:
        found = texts(kept, cuts)
    except orjson.JSONDecodeError:
        found = [None] * len(cuts)
    for cut, text in zip(cuts, found, strict=True):
        cut["text"] = text
    return None not in found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
