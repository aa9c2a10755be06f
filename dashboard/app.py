"""The finance dashboard. Streamlit runs this file for every view; it decides nothing."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from billing.errors import LedgerUnavailable
from dashboard import data, filters, states
from dashboard.format import age, plain
from dashboard.shown import hand_over
from dashboard.theme import CSS, logo, mark

_SIDEBAR_PX = 240
_VIEWS = Path(__file__).with_name("views")


def main() -> None:
    """Draw the chosen view, or why there is none."""
    st.set_page_config(
        "Tokenweir", page_icon=":material/water:", layout="wide", initial_sidebar_state=_SIDEBAR_PX
    )
    st.html(CSS)
    pages = [
        st.Page(
            _VIEWS / "compare.py", title="Compare", icon=":material/balance:",
            url_path="compare", default=True,
        ),
        st.Page(
            _VIEWS / "overview.py", title="Overview", icon=":material/calendar_month:",
            url_path="overview",
        ),
        st.Page(
            _VIEWS / "request_list.py", title="Requests", icon=":material/receipt_long:",
            url_path="requests",
        ),
        st.Page(
            _VIEWS / "spenders.py", title="Teams", icon=":material/group:", url_path="teams"
        ),
    ]  # fmt: skip
    page = st.navigation(pages)
    st.logo(logo(), size="large", icon_image=mark())
    st.title(page.title)
    try:
        source = data.open_source()
        _body(source, page)
    except data.DatabaseMissing as error:
        states.no_ledger(str(error))
    except LedgerUnavailable as error:
        states.no_ledger(str(error))


def _body(source: data.Source, page: st.Page) -> None:
    now = data.clock()
    with st.sidebar:
        latest = source.latest()
        if latest is not None:
            local = latest.astimezone(source.zone)
            st.caption(
                f"Newest request {age(latest, now)}  \n{local:%Y-%m-%d %H:%M} "
                f"{plain(source.zone.key)}"
            )
    if source.empty:
        states.no_requests()
        return
    chosen = filters.show(source.labels, now.astimezone(source.zone).date(), source.zone)
    hand_over(source, chosen)
    page.run()


if __name__ == "__main__":
    main()
