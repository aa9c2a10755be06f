"""Which policy was in force when, found on receipts by looking here and there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sharing import receipt

from billing.accounts import BillingSection, build_accounts
from billing.ledger import HoldRequest, Ledger
from billing.versions import history

_HASH = "sha256:" + "a" * 64
_TREE = build_accounts(
    BillingSection.model_validate({"teams": {"t": {"keys": ["k"]}}, "keys": {"k": _HASH}})
)


@pytest.mark.parametrize("looks", [400, 7])
def test_each_change_is_found_to_the_receipt(tmp_path: Path, looks: int) -> None:
    """Three policies over fifty receipts, looked at all or a few of; counts add up."""
    url, clock = f"sqlite:///{tmp_path / 'weir.db'}", [0]
    ledger = Ledger(url, _TREE, lambda: clock[0]).open()
    (path,) = {key.path for key in _TREE.keys.values()}
    for number in range(50):
        clock[0] = 1_800_000_000_000 + number * 1000
        policy = "first" if number < 17 else "second" if number < 40 else "third"
        made = replace(receipt(f"R{number:02d}", 1, clock[0]), policy_hash=policy)
        request = HoldRequest(made.request_id, path, None, 0, made.at_ms, "m", "u")
        ledger.settle(ledger.hold(request), made)
    ledger.close()
    found = history(url, looks)
    assert [(one.policy, one.receipts) for one in found.versions] == [
        ("third", 10), ("second", 23), ("first", 17),
    ]  # fmt: skip
    assert found.versions[0].since == found.versions[1].until
    assert found.step == max(49 // looks, 1)


def test_an_empty_ledger_has_no_versions(tmp_path: Path) -> None:
    """Nothing was posted, so nothing was in force that anybody could see."""
    url = f"sqlite:///{tmp_path / 'weir.db'}"
    Ledger(url, _TREE, lambda: 0).open().close()
    assert history(url).versions == ()
