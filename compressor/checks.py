"""The last look before a fit is believed: what may not change has not changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

from compressor.conversation import Conversation, Part, Path
from compressor.protect import OpenSpan
from compressor.recipe import Edit

LOCKED_ROLES = frozenset({"system", "developer"})


def sound_edits(
    conversation: Conversation, edits: Sequence[Edit], spans: Sequence[OpenSpan] | None
) -> bool:
    """True when every edit replaces a known text once, and only what was open of it.

    ``spans`` are the texts that were open; None when the way has rules of its own, then
    only paths, roles and JSON are looked at.
    """
    parts = _parts(conversation)
    seen: set[Path] = set()
    for edit in edits:
        if edit.path in seen or edit.path not in parts:
            return False
        seen.add(edit.path)
        role, part = parts[edit.path]
        if role in LOCKED_ROLES or not edit.text:
            return False
        if spans is None:
            if is_json(part.text) and not is_json(edit.text):
                return False
        elif not _keeps(part.text, edit.text, [span for span in spans if span.path == edit.path]):
            return False
    return True


def is_json(text: str) -> bool:
    """True for one JSON array or object and nothing else."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parts(conversation: Conversation) -> dict[Path, tuple[str, Part]]:
    return {
        part.path: (message.role, part)
        for message in conversation.messages
        for part in message.parts
        if part.path is not None
    }


def _keeps(before: str, after: str, spans: Sequence[OpenSpan]) -> bool:
    """True when all outside of ``spans`` stands in ``after``, in order, at its ends too."""
    if not spans:
        return False
    head, tail = before[: spans[0].start], before[spans[-1].end :]
    room = len(after) - len(head) - len(tail)
    if room < 0 or not (after.startswith(head) and after.endswith(tail)):
        return False
    at = len(head)
    for left, right in pairwise(spans):
        between = before[left.end : right.start]
        at = after.find(between, at)
        if at < 0 or at + len(between) > len(after) - len(tail):
            return False
        at += len(between)
    if len(spans) == 1 and is_json(spans[0].body):
        return is_json(after[len(head) : len(after) - len(tail)])
    return True
