"""What app.py hands to the view that it runs: the ledger and the filters."""

from __future__ import annotations

import streamlit as st

from dashboard.data import Source
from dashboard.filters import Filters


def hand_over(source: Source, chosen: Filters) -> None:
    """The view that runs next finds these in ``shown``."""
    st.session_state["_shown"] = (source, chosen)


def shown() -> tuple[Source, Filters]:
    """The ledger and the filters of this run."""
    found: tuple[Source, Filters] = st.session_state["_shown"]
    return found


def part_shown() -> str:
    """The filters of this run for the name of a file; "" where a view has none."""
    found = st.session_state.get("_shown")
    return found[1].slug if found is not None and found[1].filtered else ""
