"""How providers say that a prompt is longer than their window.

There is no common code; each has its own words, in a 400 as a rule, in a 413 or 422 of some,
and inside a stream that began well of others.
"""

from __future__ import annotations

import re

STATUSES = frozenset({400, 413, 422})
_SAID = re.compile(
    rb"context_length_exceeded|context_window_exceeded|maximum context length"
    rb"|prompt is too long|input is too long|input length and .?max_tokens.? exceed"
    rb"|exceeds? the (?:maximum|available) (?:number of tokens|context|input)"
    rb"|exceeds? (?:the )?(?:model'?s )?(?:context|maximum) (?:limit|length|window|size)"
    rb"|input token count|too many (?:input )?tokens|request_too_large|larger than the context",
    re.IGNORECASE,
)
_READ_BYTES = 16_384


def overflowed(body: bytes) -> bool:
    """Whether a refusal says that the prompt is too long."""
    return _SAID.search(body[:_READ_BYTES]) is not None
