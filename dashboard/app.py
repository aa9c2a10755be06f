"""The finance dashboard. Streamlit runs this file for every view; it decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from billing.access import NotAllowed
from billing.errors import LedgerUnavailable
from dashboard import currency, data, filters, login, path, states
from dashboard.format import age, plain
from dashboard.shown import hand_over
from dashboard.theme import CSS, logo, mark

_SIDEBAR_PX = 240
_VIEWS = Path(__file__).with_name("views")


@dataclass(frozen=True, slots=True)
class _View:
    """One page: its file in views/, its title, icon and address; ``filtered`` by the bar."""

    file: str
    title: str
    icon: str
    path: str
    filtered: bool = True


_PAGES = (
    _View("compare", "Compare", "balance", "compare"),
    _View("overview", "Overview", "calendar_month", "overview"),
    _View("request_list", "Requests", "receipt_long", "requests"),
    _View("spenders", "Teams", "group", "teams"),
    _View("models", "Models", "straighten", "models"),
    _View("quality", "Quality", "verified", "quality"),
    _View("chargeback", "Chargeback & close", "event_available", "chargeback", filtered=False),
    _View("provider_check", "Reconcile", "rule", "reconcile", filtered=False),
    _View("playground", "Playground", "science", "playground", filtered=False),
    _View("price_list", "Prices & policy", "sell", "prices", filtered=False),
)
_UNFILTERED = frozenset(one.path for one in _PAGES if not one.filtered)


def main() -> None:
    """Draw the chosen view, or why there is none."""
    st.set_page_config(
        "Tokenweir", page_icon=":material/water:", layout="wide", initial_sidebar_state=_SIDEBAR_PX
    )
    st.html(CSS)
    st.logo(logo(), size="large", icon_image=mark())
    try:
        source = data.open_source()
    except (data.DatabaseMissing, LedgerUnavailable) as error:
        st.title(st.navigation([_page(one) for one in _PAGES]).title)
        states.no_ledger(str(error))
        return
    who = login.viewer(source)
    if who is None:
        st.navigation([st.Page(_nothing, title="Tokenweir")], position="hidden")
        return
    pages = [_page(one) for one in _PAGES if who.may(one.path)]
    page = st.navigation([*pages, _named_first()])
    st.title(page.title)
    try:
        _body(replace(source, viewer=who), page)
    except LedgerUnavailable as error:
        states.no_ledger(str(error))
    except NotAllowed as error:
        st.warning(plain(str(error)), icon=":material/lock:")


def _body(source: data.Source, page: st.Page) -> None:
    now = data.clock()
    with st.sidebar:
        login.leave(source.viewer)
        currency.choose(source, now.astimezone(source.zone).date())
        latest = source.latest()
        if latest is not None:
            local = latest.astimezone(source.zone)
            st.caption(
                f"Newest request {age(latest, now)}  \n{local:%Y-%m-%d %H:%M} "
                f"{plain(source.zone.key)}"
            )
    currency.note()
    if source.empty:
        states.no_requests()
        return
    session = path.follow()
    if session is not None:
        st.switch_page(_VIEWS / "request_list.py", query_params={"session": session})
    today = now.astimezone(source.zone).date()
    if page.url_path in _UNFILTERED:
        chosen = filters.everything(source.zone)
    else:
        chosen = filters.show(
            source.labels, today, source.zone, every_team=source.viewer.teams is None
        )
    hand_over(source, chosen)
    page.run()


def _nothing() -> None:
    """What runs while nobody has logged in: no view is even named."""


def _named_first() -> st.Page:
    """The first view under its name, too: Streamlit serves a default page at "/" alone."""
    one = _PAGES[0]
    return st.Page(
        _VIEWS / f"{one.file}.py", title=one.title, url_path=one.path, visibility="hidden"
    )


def _page(one: _View) -> st.Page:
    return st.Page(
        _VIEWS / f"{one.file}.py",
        title=one.title,
        icon=f":material/{one.icon}:",
        url_path="first" if one is _PAGES[0] else one.path,
        default=one is _PAGES[0],
    )


if __name__ == "__main__":
    main()
