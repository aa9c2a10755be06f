"""`weir doctor`: each thing that would keep requests from being served is found and explained."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from typer.testing import CliRunner

from gateway.cli import app
from gateway.doctor import Finding, examine
from gateway.settings import parse

CONFIG = """
database: sqlite:///{folder}/weir.db
journal: {folder}/journal
upstreams:
  good: {{ kind: openai, base_url: "https://good.example/v1", api_key: sk-doctor-secret }}
  refused: {{ kind: anthropic, base_url: "https://refused.example", api_key: sk-doctor-secret }}
  gone: {{ kind: openai, base_url: "https://gone.example/v1" }}
  moved: {{ kind: openai, base_url: "https://moved.example/v1" }}
models:
  known: {{ upstream: good, price: {{ input: 1, output: 2 }}, context_window: 8000 }}
  {extra}
fit: {{ embedder: none }}
"""
OLD = "Wed, 21 Oct 2015 07:28:00 GMT"


def provider(request: httpx.Request) -> httpx.Response:
    """Four providers, each in another state."""
    match request.url.host:
        case "good.example":
            assert request.url.path == "/v1/models"
            assert request.headers["authorization"] == "Bearer sk-doctor-secret"
            return httpx.Response(200, headers={"date": OLD}, json={})
        case "refused.example":
            assert request.headers["x-api-key"] == "sk-doctor-secret"
            return httpx.Response(401, json={"error": "sk-doctor-secret"})
        case "moved.example":
            return httpx.Response(302, headers={"location": "http://127.0.0.1/"})
        case _:
            raise httpx.ConnectError("no such host", request=request)


def found(folder: Path, extra: str = "") -> dict[str, Finding]:
    """The findings by check."""
    settings = parse(CONFIG.format(folder=folder, extra=extra), str(folder / "weir.yaml"), {})
    client = httpx.Client(transport=httpx.MockTransport(provider))
    return {each.check: each for each in examine(settings, client)}


def test_what_is_fine_is_said_and_what_is_not_has_its_remedy(tmp_path: Path) -> None:
    """Every upstream's state, the clock, the missing key; never a credential."""
    seen = found(tmp_path)
    assert {name: each.level for name, each in seen.items()} == {
        "configuration": "ok",
        "keys": "warn",
        "prices": "ok",
        "database": "ok",
        "journal": "ok",
        "tokenizers": "ok",
        "open files": seen["open files"].level,
        "upstream good": "ok",
        "clock": "warn",
        "upstream refused": "fail",
        "upstream gone": "fail",
        "upstream moved": "fail",
    }
    assert all(each.fix for each in seen.values() if each.level != "ok")
    assert "api_key" in seen["upstream refused"].fix
    assert "sk-doctor-secret" not in str(seen)


def test_a_model_without_a_price_or_a_window_is_named(tmp_path: Path) -> None:
    """An unknown price would be a 402 at the first request: it is one line here."""
    seen = found(tmp_path, "mystery: { upstream: good }")
    assert seen["prices"].level == "fail"
    assert "mystery" in seen["prices"].said
    assert "mystery" in seen["windows"].said


def test_a_folder_that_is_not_there_and_a_damaged_ledger_are_found(tmp_path: Path) -> None:
    """The ledger's place is looked at before anything is written to it."""
    assert found(tmp_path / "nowhere")["database"].level == "fail"
    (tmp_path / "weir.db").write_bytes(b"this is no database" * 100)
    assert found(tmp_path)["database"].level == "fail"


def test_the_command_ends_with_1_where_something_fails(tmp_path: Path) -> None:
    """A script can ask; a bad configuration is 2, with the place."""
    path = tmp_path / "weir.yaml"
    path.write_text(
        f"database: sqlite:///{tmp_path}/weir.db\n"
        "upstreams: { gone: { kind: openai, base_url: 'http://127.0.0.1:9/v1' } }\n"
        "models: { m: { upstream: gone, price: { input: 1, output: 2 } } }\n"
        "fit: { embedder: none }\n"
    )
    done = CliRunner().invoke(app, ["doctor", "--config", str(path), "--json"])
    assert done.exit_code == 1
    rows = json.loads(done.stdout)
    assert [row["check"] for row in rows if row["level"] == "fail"] == ["upstream gone"]
    path.write_text("models: 5\n")
    assert CliRunner().invoke(app, ["doctor", "--config", str(path)]).exit_code == 2
