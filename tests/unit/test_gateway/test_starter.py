"""`weir init`: what it writes loads as it stands."""

from __future__ import annotations

import itertools

import pytest

from gateway.auth import identify
from gateway.settings import parse
from gateway.starter import starter

VARIABLES = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
SETS = [
    names for size in range(len(VARIABLES) + 1) for names in itertools.combinations(VARIABLES, size)
]


@pytest.mark.parametrize("names", SETS, ids=lambda names: "+".join(names) or "none")
def test_a_starter_file_loads_for_any_keys_found(names: tuple[str, ...]) -> None:
    """Whatever providers there are, the file is valid, cautious, and knows its own secret."""
    environ = dict.fromkeys(names, "sk-provider")
    made = starter(environ)
    settings = parse(made.text, "weir.yaml", environ or {"OPENAI_API_KEY": "later"})
    assert set(settings.upstreams) == set(made.providers)
    assert settings.routing.mode == "observe"
    assert settings.routing.baseline in settings.models
    key = identify(made.secret, settings.accounts, 0)
    assert (key.name, key.team, key.max_output) == ("first", "default", 16000)
    assert "sk-provider" not in made.text
    assert made.secret not in made.text


def test_without_keys_it_says_which_to_export() -> None:
    """Nothing found: OpenAI's part is shown with what is missing."""
    assert "export OPENAI_API_KEY" in starter({}).text


def test_two_starters_share_no_secret() -> None:
    """Each run makes its own key."""
    assert starter({}).secret != starter({}).secret
