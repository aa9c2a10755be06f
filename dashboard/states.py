"""What is shown when there is nothing to show: no request yet, none that matches, no ledger."""

from __future__ import annotations

import streamlit as st

from dashboard.filters import widen
from dashboard.format import plain

_FIRST_REQUEST = """\
curl http://127.0.0.1:8080/v1/chat/completions \\
  -H "Authorization: Bearer $WEIR_KEY" -H "Content-Type: application/json" \\
  -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}'
"""


def no_requests() -> None:
    """The ledger is there and empty: how to send a first request."""
    with st.container(border=True, key="state-empty"):
        st.subheader("No requests yet")
        st.markdown(
            "The ledger is ready. As soon as a request goes through the gateway, its cost "
            "appears here. Send one with a key from `weir keys new`:"
        )
        st.code(_FIRST_REQUEST, language="bash")
        st.markdown(
            "Or point an app's `base_url` at the gateway. To look around with real prompts, no "
            "keys and no network, run `weir demo`."
        )


def no_match(what: str) -> None:
    """Requests exist, none in the chosen filters."""
    with st.container(border=True, key="state-no-match"):
        st.subheader("Nothing here")
        st.markdown(f"There are requests in the ledger, but none {plain(what)}. Widen the filters.")
        st.button("Show all", icon=":material/filter_alt_off:", on_click=widen)


def no_ledger(problem: str) -> None:
    """The database is missing or cannot be read: what, and what to do."""
    with st.container(border=True, key="state-error"):
        st.subheader("No ledger to read")
        st.error(plain(problem), icon=":material/database_off:")
        st.markdown(
            "Start the gateway once, which makes the database, then open the dashboard with the "
            "same configuration:"
        )
        st.code("weir serve --config weir.yaml\nweir dashboard --config weir.yaml", language="bash")
