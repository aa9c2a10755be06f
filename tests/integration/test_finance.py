"""Finance on real sockets: outcomes, causes on receipts, and the commands on the same ledger."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

from processes import House

LONG = "The quarterly report says that revenue grew. " * 40


def weir(house: House, *words: str) -> str:
    """What a command says, run on the gateway's own configuration."""
    config = ["--config", str(house.folder / "weir.yaml")]
    command = [sys.executable, "-m", "gateway", *words, *config]
    return subprocess.run(command, capture_output=True, timeout=60, check=True, text=True).stdout


def ask(house: House, task: str, **fields: Any) -> str:
    """One answered request of a task; its id."""
    body = {
        "model": "gpt-6.1-sol",
        "messages": [{"role": "user", "content": f"{LONG}\nWhat is the capital of France?"}],
        "max_tokens": 30,
        **fields,
    }
    with house.client() as client:
        answer = client.post("/v1/chat/completions", json=body, headers={"x-weir-task": task})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-weir-request-id"]


def test_every_receipt_says_what_saved_what(house: House) -> None:
    """The parts by cause on a receipt add up to what it saved, to the last digit."""
    found = []
    for model in ("gpt-6.1-sol", "auto"):
        request_id = ask(house, "causes", model=model)
        with house.client() as client:
            receipt = client.get(f"/weir/receipts/{request_id}").json()
        parts = {cause: Decimal(amount) for cause, amount in receipt["saved_by"].items()}
        assert list(parts) == ["trim", "model", "cache", "retries", "gateway"]
        assert sum(parts.values()) == Decimal(receipt["saved_usd"])
        found.append(receipt)
    assert any(Decimal(receipt["saved_by"]["model"]) > 0 for receipt in found)


def test_a_task_is_closed_by_its_client(house: House) -> None:
    """POST closes a task, the last word holds, GET shows it, a wrong body is a 400."""
    ask(house, "ticket 7")
    with house.client() as client:
        first = client.post("/weir/outcomes", json={"task": "ticket 7", "outcome": "rejected"})
        assert (first.status_code, first.json()["outcome"]) == (201, "rejected")
        said = {"task": "ticket 7", "outcome": "accepted", "value": "12.50"}
        assert client.post("/weir/outcomes", json=said).json()["value"] == "12.50"
        newest = client.get("/weir/outcomes").json()["data"]
        assert [row["outcome"] for row in newest if row["task"] == "ticket 7"] == ["accepted"]
        history = client.get("/weir/outcomes", params={"task": "ticket 7"}).json()["data"]
        assert [row["outcome"] for row in history] == ["accepted", "rejected"]
        wrong = client.post("/weir/outcomes", json={"task": "ticket 7", "outcome": "meh"})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "outcome")
        broken = client.post("/weir/outcomes", content=b"{")
        assert broken.status_code == 400
    with house.client() as client:
        client.headers.pop("authorization")
        assert client.post("/weir/outcomes", json=said).status_code == 401


def test_the_commands_read_the_same_ledger(house: House) -> None:
    """savings and export, run beside the gateway, agree with its own totals."""
    ask(house, "commands")
    totals = house.totals()
    rows = list(csv.DictReader(io.StringIO(weir(house, "export"))))
    assert sum(Decimal(row["amount_usd"]) for row in rows) == Decimal(
        str(totals["cost"])
    ) + Decimal(str(totals["provisional_cost"]))
    found = json.loads(weir(house, "savings", "--json"))
    assert found["requests"] >= 1
    parts = sum(Decimal(amount) for amount in found["by_cause_usd"].values())
    assert parts == Decimal(found["saved_usd"])
