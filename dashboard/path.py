"""The way down: team, project, key, session. It lives in the URL beside the filters.

Streamlit forgets an address's own words when another view is opened; what was drilled down to
is kept for the session and written back, so that every view shows the same part.
"""

from __future__ import annotations

import streamlit as st

LEVELS = ("team", "project", "key", "session")
NONE = "(none)"
"""How the URL and the screen write what has no name."""
_KEPT = "_path"
_PICKED = "_picked"
_STEPS = ("project", "key")


def within() -> dict[str, str]:
    """What was drilled down to below the team, label by group; "" is no name."""
    kept: dict[str, str] = dict(st.session_state.get(_KEPT, {}))
    for step in _STEPS:
        if step in st.query_params:
            kept[step] = _label(st.query_params[step])
    return kept


def show() -> tuple[tuple[str, str], ...]:
    """Say in the URL and on the screen what is drilled down to; each step can be taken back."""
    found = within()
    st.session_state[_KEPT] = found
    for step, label in found.items():
        st.query_params[step] = label or NONE
    if found:
        with st.container(horizontal=True, gap="small", key="path"):
            for step, label in found.items():
                st.button(
                    f"{step}: {label or NONE}", icon=":material/close:", key=f"path-{step}",
                    help=f"Show every {step} again.", on_click=leave, args=(step,),
                )  # fmt: skip
    return tuple(found.items())


def pick(group: str, label: str) -> None:
    """The next run goes one step down, to what was picked."""
    st.session_state[_PICKED] = (group, label)


def follow() -> str | None:
    """Take the step that was picked; the session to show the requests of, if it is one.

    Call it before the filters are drawn: what they show is set here.
    """
    picked = st.session_state.pop(_PICKED, None)
    if picked is None:
        return None
    group, label = picked
    if group == "session":
        return str(label)
    if group == "team":
        st.session_state["team"] = label
        leave()
    else:
        kept = {**within(), group: label}
        if group == "project":
            kept.pop("key", None)
        _keep(kept)
    st.session_state["by"] = next_of(group)
    return None


def leave(step: str | None = None) -> None:
    """One step is taken back, and those below it; all of them without one."""
    kept = within()
    gone = _STEPS if step is None else _STEPS[_STEPS.index(step) :]
    _keep({name: label for name, label in kept.items() if name not in gone})


def next_of(group: str) -> str | None:
    """What a group is made of, or None below sessions."""
    if group not in LEVELS or group == LEVELS[-1]:
        return None
    return LEVELS[LEVELS.index(group) + 1]


def _keep(kept: dict[str, str]) -> None:
    st.session_state[_KEPT] = kept
    for step in _STEPS:
        if step in kept:
            st.query_params[step] = kept[step] or NONE
        elif step in st.query_params:
            del st.query_params[step]


def _label(text: str) -> str:
    return "" if text == NONE else text
