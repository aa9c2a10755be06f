"""An audit shows what a fit dropped, and proves it where the body was kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from documents import QUESTION, prose
from sharing import receipt as a_receipt

from billing.bodies import Kept
from billing.receipt import Receipt
from compressor.conversation import Conversation, Message, Part, PartKind
from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.recipe import Fitted, Recipe, Way
from compressor.scan import scan
from compressor.tokens import load_counter
from gateway.actions import cuts_json
from gateway.trail import audited, findings_json, hashes, hidden

COUNTER = load_counter("o200k_base")
TEXT = "Paragraph 7 is about the mill, its keeper and the cost of timber.\n\n" + prose(100)
ASKED = f"{TEXT}\n\n{QUESTION}"
RAW = json.dumps({"model": "m", "messages": [{"role": "user", "content": ASKED}]}).encode()


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    part = Part(PartKind.TEXT, ASKED, ("messages", 0, "content"))
    conversation = Conversation((Message("user", (part,)),))
    measured = measure(conversation, COUNTER, media_rule("openai_tiles"))
    found = fit(conversation, measured, Recipe(Way.TRIM, 2_000, time_limit_ms=60_000), Kit(COUNTER))
    assert found.way is Way.TRIM
    return found


def kept(received: bytes) -> Kept:
    return Kept("r", "t", 0, 60_000, received)


@pytest.fixture
def receipt(fitted: Fitted) -> Receipt:
    return replace(
        a_receipt("r", 1_000, 0),
        cuts=cuts_json(fitted),
        decision=hashes(RAW, fitted),
        action="trim",
    )


def test_without_the_body_places_and_hashes_are_told(receipt: Receipt) -> None:
    """No text stands in the audit, and nothing is claimed to be verified."""
    told = audited(receipt, None)
    assert (told["texts"], told["verified"]) == ("not kept", None)
    assert told["dropped_tokens"] == sum(cut["tokens"] for cut in told["cuts"]) > 1_000
    assert told["by_way"]["trim"]["pieces"] == len(told["cuts"])
    assert "keeper and the cost" not in json.dumps(told)


def test_with_the_body_every_cut_shows_its_text_and_is_proven(receipt: Receipt) -> None:
    """What was dropped and what was kept are together the original, byte for byte."""
    told = audited(receipt, kept(RAW))
    assert told["verified"] is True
    assert told["bodies"]["received"].encode() == RAW
    content = json.loads(RAW)["messages"][0]["content"]
    for cut in told["cuts"]:
        assert cut["text"] == content[cut["start"] : cut["end"]]


@pytest.mark.parametrize(
    "other",
    [RAW.replace(b"Paragraph 7 ", b"Paragraph 8 "), RAW + b" ", b"{", b'{"messages": []}'],
    ids=["another-word", "another-byte", "no-json", "another-shape"],
)
def test_another_body_is_never_verified(other: bytes, receipt: Receipt) -> None:
    """One byte is enough; a text that does not match its hash is not shown."""
    told = audited(receipt, kept(other))
    assert told["verified"] is False


def test_an_unchanged_request_has_no_hashes_and_nothing_to_show() -> None:
    """Nothing was cut, so that nothing needs to be proven."""
    assert hashes(RAW, None) == {}
    told = audited(replace(a_receipt("r", 1_000, 0), cuts=(), decision={}), None)
    assert (told["cuts"], told["dropped_tokens"], told["original_sha256"]) == ([], 0, None)


def test_what_was_hidden_stands_in_the_reasons_and_the_audit(receipt: Receipt) -> None:
    """A count of each kind; explain also says where."""
    text = "pay\u200bpal <i style='display:none'>x</i>"
    part = Part(PartKind.TEXT, text, ("messages", 0, "content"))
    found = scan(Conversation((Message("user", (part,)),)))
    (reason,) = hidden(found)
    assert reason == {"code": "hidden_content", "hidden_style": 1, "zero_width": 1}
    assert hidden(()) == ()
    assert audited(replace(receipt, reasons=(reason,)), None)["hidden"]["zero_width"] == 1
    assert {row["kind"] for row in findings_json(found)} == {"zero_width", "hidden_style"}
    assert findings_json(found)[0]["path"] == ["messages", 0, "content"]
