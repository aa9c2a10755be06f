"""What holds for every test."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

# Test helpers (fakes, processes, documents) are imported by their own names.
sys.path.insert(0, str(Path(__file__).parent))

# A busy machine is no reason for a property to fail; pytest-timeout bounds every test.
settings.register_profile("weir", deadline=None)
settings.load_profile("weir")
