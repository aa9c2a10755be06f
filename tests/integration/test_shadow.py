"""Shadow labels over real sockets: what is asked twice, who judges, who pays, what is lost."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes import FIVE, Fault, FaultServer, completion, error, event, plain, silent, sse
from processes import Key, Running, gateway, get, http

from gateway.replay_log import Range
from gateway.train_labels import from_ledger

SMALL_SAYS: Mapping[str, str] = {
    "fine": "GOOD, in short.",
    "poor": "I would not know.",
    "waver": "WAVER at that.",
    "babble": "BABBLE about it.",
    "letter": "B",
    "crash": "GOOD.",
    "late": "GOOD.",
}
LARGE_SAYS: Mapping[str, Fault] = {
    "letter": plain(200, completion("The answer is B.")),
    "crash": error(500, "server_error"),
    "late": silent,
}
OPTIONS = "Which gas do plants take in?\nA. helium\nB. carbon dioxide\nC. neon\nAnswer:"


async def judging(
    writer: asyncio.StreamWriter, reader: asyncio.StreamReader, body: Mapping[str, Any]
) -> None:
    """A judge: GOOD answers are good; it always likes the first of a WAVER; BABBLE makes it."""
    said = body["messages"][-1]["content"]
    first, second = said.split("FIRST ANSWER")[1].split("SECOND ANSWER")
    good = "GOOD" in first, "GOOD" in second
    words = {(True, True): "same", (True, False): "first", (False, True): "second"}
    word = "first" if "WAVER" in said else words.get(good, "neither")
    text = "They speak." if "BABBLE" in said else f'I looked.\n{{"verdict": "{word}"}}'
    await plain(200, completion(text))(writer, reader, body)


@dataclass(frozen=True)
class Place:
    """A gateway whose teams have a small and a large model of one kind each."""

    running: Running
    keys: Mapping[str, Key]
    folder: Path

    def ask(self, team: str, text: str = "Say hello.", **more: object) -> dict[str, Any]:
        """What was answered, as its receipt."""
        with self.client(team) as client:
            body = {"model": f"large-{team}", "messages": [{"role": "user", "content": text}]}
            answer = client.post("/v1/chat/completions", json={**body, **more})
            assert answer.status_code == 200, answer.text
            found = client.get(f"/weir/receipts/{answer.headers['x-weir-request-id']}").json()
            return dict(found)

    def client(self, team: str) -> Any:
        """A client of a team's key."""
        return http(self.running.url, authorization=f"Bearer {self.keys[team].secret}")

    def counted(self) -> dict[str, int]:
        """The labels, and the dropped ones by reason, as the metrics count them."""
        rows = [
            r
            for r in get(self.running.url + "/metrics").text.splitlines()
            if "weir_shadow_total{" in r
        ]
        return {r.split('outcome="')[1].split('"')[0]: int(float(r.split()[-1])) for r in rows}

    def wait(self, outcome: str, count: int = 1) -> None:
        """Until so many of an outcome are counted."""
        deadline = time.monotonic() + 20
        while self.counted().get(outcome, 0) < count:
            assert time.monotonic() < deadline, self.counted()
            time.sleep(0.02)

    def bill(self, receipt: Mapping[str, Any]) -> dict[str, Any]:
        """The gateway's own receipt for labelling a request; the tables follow the journal."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for bill in self.bills():
                if bill["reasons"][0].get("of") == receipt["request_id"]:
                    return bill
            time.sleep(0.02)
        raise AssertionError(f"no label was billed for {receipt['request_id']}")

    def bills(self) -> list[dict[str, Any]]:
        """The receipts of the gateway's own account, oldest first."""
        with sqlite3.connect(self.folder / "weir.db") as db:
            rows = db.execute(
                "SELECT body FROM receipts WHERE team = 'gateway:shadow' ORDER BY seq"
            ).fetchall()
        return [json.loads(row[0]) for row in rows]


def config(folder: Path, server: FaultServer, keys: Mapping[str, Key], shadow: str) -> str:
    """Teams whose small model is named like them, all on one provider."""
    cheap, dear = "price: { input: 0.1, output: 0.2 }", "price: { input: 10, output: 20 }"
    names = [*SMALL_SAYS, "proud", "closed"]
    models = [
        line
        for name in names
        for line in (
            f"  {name}: {{ upstream: p, tier: small, {cheap} }}",
            f"  large-{name}: {{ upstream: p, tier: mid, {dear} }}",
        )
    ]
    teams = [f"  {n}: {{ keys: [{n}], allow: [{n}, large-{n}, judge] }}" for n in SMALL_SAYS]
    teams.append("  proud: { keys: [proud], allow: [proud, large-proud, judge], forbid: [shadow] }")
    teams.append("  closed: { keys: [closed], allow: [closed, large-closed] }")
    lines = [
        f"database: sqlite:///{folder}/weir.db",
        f'upstreams: {{ p: {{ kind: openai, base_url: "{server.url}/v1", retries: 0 }} }}',
        "models:",
        *models,
        f"  judge: {{ upstream: p, tier: mid, {dear} }}",
        "routing:",
        "  quality: { floor: 50%, unproven: route }",
        f"  shadow: {shadow}",
        "limits: { max_output: 500 }",
        "teams:",
        *teams,
        "keys:",
        *(f"  {name}: {key.hash}" for name, key in keys.items()),
    ]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    """The provider of all models."""
    faults: dict[str, Fault] = {"judge": judging}
    for name in (*SMALL_SAYS, "proud", "closed"):
        faults[name] = plain(200, completion(SMALL_SAYS.get(name, "GOOD.")))
        faults[f"large-{name}"] = LARGE_SAYS.get(name, plain(200, completion("GOOD, at length.")))
    with FaultServer(faults) as running:
        yield running


def place(folder: Path, server: FaultServer, shadow: str) -> Iterator[Place]:
    """A gateway of its own; the keys are those of its folder."""
    names = [*SMALL_SAYS, "proud", "closed"]
    path = folder / "keys.json"
    if not path.exists():
        made = {name: Key.new() for name in names}
        path.write_text(json.dumps({name: [k.secret, k.hash] for name, k in made.items()}))
    keys = {name: Key(*row) for name, row in json.loads(path.read_text()).items()}
    with gateway(folder, config(folder, server, keys, shadow)) as running:
        yield Place(running, keys, folder)


ALWAYS = "{ share: 100%, budget: [5 per day, 50 per month], judge: judge }"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, server: FaultServer) -> Iterator[Place]:
    """A gateway that asks twice whenever it may."""
    yield from place(tmp_path_factory.mktemp("shadow"), server, ALWAYS)


@pytest.mark.parametrize(
    ("team", "outcome", "labels"),
    [("fine", "same", [1.0, 1.0]), ("poor", "large", [0.0, 1.0]), ("letter", "same", [1.0, 1.0])],
)
def test_a_verdict_is_a_label_and_a_bill_of_the_gateways_own(
    here: Place, team: str, outcome: str, labels: list[float]
) -> None:
    """The team pays for its small answer; the second one and the judge are the gateway's lines."""
    before = here.counted().get(outcome, 0)
    receipt = here.ask(team, OPTIONS if team == "letter" else "Say hello.")
    assert (receipt["served_model"], len(receipt["attempts"])) == (team, 1)
    assert receipt["gateway_cost_usd"] == "0"
    here.wait(outcome, before + 1)
    bill = here.bill(receipt)
    judged = [] if team == "letter" else ["judge", "judge"]
    assert sorted(a["model"] for a in bill["attempts"]) == sorted([f"large-{team}", *judged])
    kinds = {line["component"].rpartition(":")[0] for line in bill["lines"]}
    assert kinds == ({"gateway:shadow", "gateway:judge"} if judged else {"gateway:shadow"})
    assert (
        bill["cost_nano"]
        == bill["gateway_cost_nano"]
        == sum(x["amount_nano"] for x in bill["lines"])
    )
    record = bill["decision"]["shadow"]
    assert [record["small"], record["large"]] == labels
    assert (record["team"], record["by"]) == (team, "judge" if judged else "rule")
    assert "hello" not in json.dumps(bill)


def test_a_label_moves_what_is_known_of_the_task(here: Place) -> None:
    """The next request of the same task sees one more label of the small and the large model."""
    body = {"model": "large-poor", "messages": [{"role": "user", "content": "Tell me of Rome."}]}

    def known() -> Any:
        with here.client("poor") as client:
            return client.post("/weir/explain", json=body).json()["conversation"]["labels"]

    count = here.counted().get("large", 0)
    before = known()
    here.ask("poor", "Tell me of Rome.")
    here.wait("large", count + 1)
    after = known()
    assert after["small"][0] > before["small"][0]
    assert after["large"][0] > before["large"][0]
    assert after["small"][1] < after["large"][1]


def test_training_reads_the_labels_from_the_ledger(here: Place) -> None:
    """Each verdict is an example with the score and features it was judged by, of its team."""
    here.bill(here.ask("poor", "When did it end?"))
    found = from_ledger(f"sqlite:///{here.folder}/weir.db", Range(0, 2**60), "poor")
    judged = [example for example in found if example.source == "shadow"]
    assert judged
    assert {(one.small, one.large, one.weight) for one in judged} == {(0.0, 1.0, 1.0)}
    assert all(one.features["words"] > 0 for one in judged)
    whole = from_ledger(f"sqlite:///{here.folder}/weir.db", Range(0, 2**60))
    assert len(whole) > len(found)


@pytest.mark.parametrize(("team", "outcome"), [("waver", "undecided"), ("babble", "nonsense")])
def test_a_judge_that_wavers_or_babbles_gives_no_label(
    here: Place, team: str, outcome: str
) -> None:
    """What differs with the order, or is no verdict, is dropped and counted, and paid for."""
    receipt = here.ask(team)
    here.wait(outcome)
    bill = here.bill(receipt)
    assert bill["decision"] == {}
    assert bill["reasons"][0]["verdict"] == outcome
    assert bill["cost_nano"] > 0


def test_a_model_that_fails_costs_only_the_label(here: Place) -> None:
    """An error of the large model is no answer of ours: counted, not charged, nothing learned."""
    receipt = here.ask("crash")
    here.wait("failed")
    bill = here.bill(receipt)
    assert (bill["cost_nano"], bill["attempts"][0]["state"]) == (0, "void")


def test_who_forbids_it_or_whose_judge_is_not_allowed_is_asked_once(
    here: Place, server: FaultServer
) -> None:
    """`forbid: [shadow]` is permanent, and no judge reads what its team may not send there."""
    for team in ("proud", "closed"):
        assert here.ask(team)["served_model"] == team
    here.ask("fine", "Say it once.", model="fine")  # asked for by name: nothing to compare
    time.sleep(0.3)
    assert server.calls["large-proud"] == server.calls["large-closed"] == 0


def test_a_stream_is_judged_by_its_whole_text(here: Place, server: FaultServer) -> None:
    """The second answer is asked for whole, whatever form the first one had."""
    server._faults["fine"] = sse(
        *FIVE, event("GOOD"), event(finish="stop"),
        event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 6}), b"data: [DONE]\n\n",
    )  # fmt: skip
    count = here.counted().get("same", 0)
    with here.client("fine") as client:
        body = {
            "model": "large-fine",
            "stream": True,
            "messages": [{"role": "user", "content": "Hello you."}],
        }
        assert "GOOD" in client.post("/v1/chat/completions", json=body).text
    here.wait("same", count + 1)
    sent = json.loads(server.bodies["large-fine"])
    assert sent["stream"] is False
    assert "stream_options" not in sent
    server._faults["fine"] = plain(200, completion(SMALL_SAYS["fine"]))


def test_the_ledger_adds_up_with_labels_in_it(here: Place) -> None:
    """Double entry, chain and rollups hold; the account's spend stands in its own budget."""
    here.running.stop()
    command = [
        sys.executable,
        "-m",
        "gateway",
        "ledger",
        "verify",
        "--config",
        str(here.folder / "weir.yaml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_second_answer_never_delays_and_a_stop_bills_it(
    tmp_path: Path, server: FaultServer
) -> None:
    """The client has its answer while the large model is silent; ending books the most."""
    for there in place(tmp_path, server, ALWAYS):
        began = time.monotonic()
        receipt = there.ask("late")
        assert time.monotonic() - began < 5  # the large model never answers
        assert receipt["status"] == 200
        while server.open["large-late"] == 0:
            time.sleep(0.01)
        assert there.running.stop() == 0
        bill = there.bills()[-1]
        assert (bill["attempts"][0]["outcome"], bill["attempts"][0]["state"]) == (
            "cancelled", "provisional",
        )  # fmt: skip
        assert bill["cost_nano"] > 0
        assert bill["usage_source"] == "estimated"


def test_a_crash_charges_the_hold_and_labels_survive_a_restart(
    tmp_path: Path, server: FaultServer
) -> None:
    """What was under way is an orphan of the account; what was learned is read back."""
    question = {"model": "large-poor", "messages": [{"role": "user", "content": "Who was Nero?"}]}
    for there in place(tmp_path, server, ALWAYS):
        there.ask("poor", "Who was Nero?")
        there.wait("large")
        there.ask("late")
        while server.open["large-late"] == 0:
            time.sleep(0.01)
        there.running.stop(signal.SIGKILL)
    for there in place(tmp_path, server, ALWAYS):
        with there.client("poor") as client:
            labels = client.post("/weir/explain", json=question).json()["conversation"]["labels"]
        assert labels["small"][0] == labels["large"][0] == 1.0
        assert there.bills()[-1]["state"] == "orphan"
        assert there.bills()[-1]["cost_nano"] > 0


def test_its_own_budget_bounds_it(tmp_path: Path, server: FaultServer) -> None:
    """Where the budget has no room nothing more is asked; the team's answers go on."""
    tiny = "{ share: 100%, budget: 0.20 per day, judge: judge }"
    for there in place(tmp_path, server, tiny):
        there.ask("fine", "One more.")
        there.wait("budget")
        assert there.bills() == []
        assert there.ask("fine", "Two more.")["status"] == 200


def test_a_rule_asks_only_where_it_can_speak(tmp_path: Path, server: FaultServer) -> None:
    """Without a judge model nothing is spent on answers that no rule can compare."""
    before = server.calls["large-letter"], server.calls["judge"]
    for there in place(tmp_path, server, "{ share: 100%, budget: 5 per day }"):
        there.ask("letter", "Tell me something.")
        there.ask("letter", OPTIONS)
        there.wait("same")
        assert server.calls["large-letter"] == before[0] + 1
        assert server.calls["judge"] == before[1]
