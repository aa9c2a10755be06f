"""What holds for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# Test helpers (fakes, processes, documents) are imported by their own names.
sys.path.insert(0, str(Path(__file__).parent))

# A busy machine is no reason for a property to fail; pytest-timeout bounds every test. The same
# tree always gives the same verdict; `WEIR_HYPOTHESIS=search` draws new examples each time.
settings.register_profile("weir", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("WEIR_HYPOTHESIS", "weir"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``WEIR_TEST_STRICT`` a test that is left out has failed: what it needs is missing."""
    report = yield
    if report.skipped and os.environ.get("WEIR_TEST_STRICT"):
        report.outcome = "failed"
        report.longrepr = f"left out, where nothing may be: {report.longrepr}"
    return report
