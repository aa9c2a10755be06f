"""The policy of examples/policy, as written: it is sound, and each of its keys is served."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fakes import FaultServer, completion, plain
from processes import Key, gateway, http
from typer.testing import CliRunner

from gateway.cli import app
from gateway.settings import parse

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy"
ENVIRON = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a"}
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "Fine."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}


def test_it_is_sound_as_written() -> None:
    """`weir policy lint` finds no error in it, and warns of children that sum to more."""
    done = CliRunner().invoke(
        app, ["policy", "lint", "-c", str(EXAMPLE / "weir.yaml")], env=ENVIRON
    )
    assert done.exit_code == 0, done.output
    assert "organisation/month: its parts may spend 73000 USD together" in done.output
    assert "error" not in done.output


def test_every_section_is_in_its_place() -> None:
    """What a reader takes from it is what the gateway has."""
    path = EXAMPLE / "weir.yaml"
    settings = parse(path.read_text(), str(path), ENVIRON)
    key = settings.accounts.named("claims-prod")
    assert key is not None
    assert (key.region, key.holdout) == ("eu", 0)
    assert key.forbid == {"trim", "compress", "downgrade", "response_cache"}
    labels = {
        node.id: [budget.label for budget in node.budgets]
        for node in settings.accounts.nodes.values()
        if node.budgets
    }
    assert labels == {
        "organisation": ["month"],
        "support": ["month", "day"],
        "support/chat": ["month"],
        "support/mail": ["month"],
        "engineering": ["month", "user/day"],
        "claims": ["month"],
    }
    assert len(settings.contracts.clauses) == 2


@pytest.mark.slow
def test_every_key_is_served(tmp_path: Path) -> None:
    """With real keys and reachable providers nothing else has to change."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    text = (EXAMPLE / "weir.yaml").read_text()
    keys = {name: Key.new() for name in re.findall(r"^  (\S+): sha256:", text, re.MULTILINE)}
    for name, key in keys.items():
        text = re.sub(rf"(?m)^  {name}: sha256:\w+", f"  {name}: {key.hash}", text)
    models = ("gpt-6-luna", "gpt-6.1-sol", "llama-4-8b")
    faults = {name: plain(200, completion()) for name in models}
    faults["claude-sonnet-5-5"] = plain(200, json.dumps(CLAUDE).encode())
    with FaultServer(faults) as server:
        for base in ("https://api.openai.com", "http://10.0.0.5:8000"):
            text = text.replace(base, server.url)
        text = text.replace("kind: openai, ", "kind: openai, provider: openai, ", 1)
        text = text.replace("kind: anthropic,", f'kind: anthropic, base_url: "{server.url}",')
        for name, value in ENVIRON.items():
            text = text.replace(f"${{{name}}}", value)
        assert len(keys) == 5
        with gateway(tmp_path, text) as running:
            for name, key in keys.items():
                model = "claude-sonnet-5-5" if name == "claims-prod" else "gpt-6.1-sol"
                body = {"model": model, "messages": [{"role": "user", "content": "Why?"}]}
                with http(running.url, authorization=f"Bearer {key.secret}") as client:
                    answer = client.post("/v1/chat/completions", json=body)
                assert answer.status_code == 200, (name, answer.text)
