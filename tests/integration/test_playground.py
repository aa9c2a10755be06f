"""The Playground against the real gateway: what is shown is what the gateway would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from processes import House
from streamlit.testing.v1 import AppTest

from dashboard.asking import body_of, explain

pytestmark = pytest.mark.slow
APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture
def app(house: House, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Playground beside the running house, after one request through it."""
    from processes import http

    with http(house.gateway.url, authorization=f"Bearer {house.key.secret}") as client:
        body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": "Hello"}]}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
    monkeypatch.setenv("WEIR_DATABASE", f"sqlite:///{house.folder / 'weir.db'}")
    monkeypatch.setenv("WEIR_CONFIG", "")
    monkeypatch.setenv("WEIR_GATEWAY", house.gateway.url)
    started = AppTest.from_file(str(APP), default_timeout=60)
    return started.run().switch_page("views/playground.py").run()


def ask(app: Any, text: str, secret: str) -> Any:
    """Fill the form and press the button."""
    app.text_area[0].set_value(text)
    next(one for one in app.text_input if one.label == "Gateway key").set_value(secret)
    next(button for button in app.button if button.label == "Explain").click().run()
    assert [error.value for error in app.exception] == []
    return app


def test_it_shows_what_the_gateway_would_do(app: Any, house: House) -> None:
    """Tokens, the plan and every candidate are those of `/weir/explain`; nothing is billed."""
    question = "Good morning! What is the capital of France?"
    said = explain(body_of(question, "auto"), house.key.secret)
    shown = ask(app, question, house.key.secret)
    metrics = {metric.label: metric.value for metric in shown.metric}
    assert metrics["Prompt tokens"] == f"{said['measurement']['prompt_tokens']:,}"
    assert metrics["Reading"] == said["measurement"]["need"]
    models = [row["model"] for row in shown.dataframe[0].value.to_dict("records")]
    assert models == [one["model"] for one in said["candidates"]]
    assert question in shown.code[0].value


def test_a_wrong_key_is_refused_without_being_repeated(app: Any) -> None:
    """The gateway's own words, and not the key."""
    shown = ask(app, "Hello", "weir-not-a-key")
    assert "refuses (401)" in shown.error[0].value.replace("\\", "")
    assert "not-a-key" not in shown.error[0].value


def test_without_a_key_it_asks_for_one(app: Any) -> None:
    """An empty key is no failure of the gateway."""
    assert "Give a gateway key" in ask(app, "Hello", " ").error[0].value
