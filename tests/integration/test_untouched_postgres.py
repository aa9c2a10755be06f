"""What untouched traffic tells, kept in a PostgreSQL ledger that two processes share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from engines import postgresql
from sharing import accounts, now_ms, receipt, request

from billing.desk import Desk
from billing.shared_ledger import SharedLedger
from billing.untouched import refresh


@pytest.mark.slow
def test_processes_share_the_sums(postgres_server: str, tmp_path: Path) -> None:
    """Answers of the holdout are added once, whichever process reads them first."""
    with postgresql(postgres_server) as url:
        ledger = SharedLedger(url, accounts("10 per day"), now_ms, folder=tmp_path).open()
        one, two = Desk(url), Desk(url)
        try:
            for number in range(5):
                made = replace(
                    receipt(f"r{number}", 100, now_ms()), arm="holdout", reasoning_tokens=10
                )
                ledger.settle(ledger.hold(request(made.request_id, 100, now_ms())), made)
            ledger.flush()
            norms, more = refresh(one, now_ms())
            assert (norms.reasoning, more) == ({("m", "unknown/hard"): (5, 50)}, False)
            assert refresh(two, now_ms()) == (norms, False)
            assert norms.retries == {"m": (5, 500, 0)}
        finally:
            for each in (ledger, one, two):
                each.close()
