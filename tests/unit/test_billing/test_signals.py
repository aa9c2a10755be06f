"""Re-asked and escalated, by arm, from a real ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sharing import receipt

from billing.accounts import BillingSection, build_accounts
from billing.ledger import HoldRequest, Ledger
from billing.scope import Scope
from billing.signals import Signals, signals

_HASH = "sha256:" + "a" * 64
_TREE = build_accounts(
    BillingSection.model_validate({"teams": {"t": {"keys": ["k"]}}, "keys": {"k": _HASH}})
)
_SAID = (
    ("routed", [["went_on", "small"]], ()),
    ("routed", [["asked_again", "small"]], ()),
    ("routed", [["regenerated", "small"], ["escalated", "small"]], ({"code": "escalated"},)),
    ("routed", [], ({"code": "escalated", "fault": "empty"},)),
    ("holdout", [["went_on", "large", 0.1]], ()),
    ("holdout", None, ()),
)


def test_each_arm_says_what_was_asked_again_and_what_went_up(tmp_path: Path) -> None:
    """Counted once a request; older receipts without any record count as requests alone."""
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    ledger = Ledger(url, _TREE, lambda: 1_800_000_000_000).open()
    (path,) = {key.path for key in _TREE.keys.values()}
    for number, (arm, labels, reasons) in enumerate(_SAID):
        made = replace(
            receipt(f"R{number}", 1, 1_800_000_000_000),
            arm=arm,
            reasons=reasons,
            decision={} if labels is None else {"v": 1, "labels": labels},
        )
        request = HoldRequest(made.request_id, path, None, 0, made.at_ms, "m", "u")
        ledger.settle(ledger.hold(request), made)
    ledger.close()
    assert signals(url, Scope()) == [
        Signals("holdout", 2, 1, 0, 0),
        Signals("routed", 4, 3, 2, 2),
    ]
    assert sum(one.requests for one in signals(url, Scope(), limit=3)) == 3
