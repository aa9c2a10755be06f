"""Who is looking: a key from the configuration opens the dashboard, a role says how much of it."""

from __future__ import annotations

import streamlit as st

from billing.access import EVERYBODY, Viewer, viewer_of
from dashboard.data import Source
from dashboard.format import plain

_NAME = "_viewer"


def viewer(source: Source) -> Viewer | None:
    """Who looks, or None while nobody has logged in; draws the form then.

    Where no policy was given at all the dashboard is somebody's own and open. A policy that
    cannot be read might name people, so that nothing is shown until it can.
    """
    if source.unreadable:
        st.error(plain(source.policy_problem or ""), icon=":material/lock:")
        return None
    if source.accounts is None:
        return EVERYBODY
    people = source.accounts.config.people
    if not people:
        return EVERYBODY
    person = people.get(st.session_state.get(_NAME, ""))
    if person is not None:
        return Viewer(st.session_state[_NAME], person.role, person.teams or None)
    with st.container(border=True, key="login"), st.form("login", border=False):
        st.subheader("Log in")
        secret = st.text_input("Your key", type="password", autocomplete="current-password")
        if st.form_submit_button("Log in", type="primary"):
            found = viewer_of(people, secret)
            if found is None:
                st.error("This key opens nothing here.", icon=":material/key_off:")
            else:
                st.session_state[_NAME] = found.name
                st.rerun()
    return None


def leave(who: Viewer) -> None:
    """Say who is logged in, with the way out."""
    if who is EVERYBODY:
        return
    st.caption(f"{who.name}, {who.role.value}")
    if st.button("Log out", icon=":material/logout:", type="tertiary"):
        del st.session_state[_NAME]
        st.rerun()
