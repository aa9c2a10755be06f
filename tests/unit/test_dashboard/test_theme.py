"""The theme as Streamlit takes it."""

from __future__ import annotations

import re

from streamlit.config import get_config_options

from dashboard import theme


def test_every_setting_is_one_that_streamlit_knows() -> None:
    """A misspelt theme option would be ignored in silence: each name is checked."""
    known = {re.sub(r"\W", "_", _snake(name)).upper() for name in get_config_options()}
    named = {name.removeprefix("STREAMLIT_") for name in theme.environment()}
    assert named <= known


def test_light_and_dark_are_told_apart() -> None:
    """Both have their own background and text."""
    found = theme.environment()
    for part in ("BACKGROUND_COLOR", "TEXT_COLOR"):
        assert found[f"STREAMLIT_THEME_LIGHT_{part}"] != found[f"STREAMLIT_THEME_DARK_{part}"]


def test_text_in_a_lead_is_not_markup() -> None:
    """A model or team name cannot put elements on the page."""
    assert "<script>" not in theme.lead("<script>x</script>")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
