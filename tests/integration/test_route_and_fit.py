"""Route and fit through a running gateway: what is sent, what it cost, what it would have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from documents import FACT, PASSAGE, ask, prose, records
from processes import House, Key, gateway, get, simulator

SMALL, MID, LONG = "gpt-6-luna", "gpt-6.1-sol", "gemini-4-argon"
ALL = "Summarise the whole document, chapter by chapter, leaving nothing out."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One gateway, several teams: routed, held out, careful."""
    folder = tmp_path_factory.mktemp("routed")
    key = Key.new()
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, base_url: "%(url)s/v1", api_key: sk-sim, provider: openai }}
  google: {{ kind: openai, base_url: "%(url)s/v1", api_key: sk-sim, provider: google }}
models:
  {SMALL}: {{ upstream: openai, tier: small }}
  {MID}: {{ upstream: openai, tier: mid }}
  {LONG}: {{ upstream: google, tier: long }}
routing: {{ mode: route, baseline: {MID} }}
teams:
  routed: {{ keys: [main] }}
  held-out: {{ keys: [holdout], holdout: 100%% }}
  careful: {{ keys: [careful], forbid: [trim, compress, downgrade] }}
  small-only: {{ keys: [narrow], allow: [small] }}
keys:
  main: {key.hash}
  holdout: {KEYS["holdout"].hash}
  careful: {KEYS["careful"].hash}
  narrow: {KEYS["narrow"].hash}
"""
    with simulator(folder) as provider, gateway(folder, config % {"url": provider.url}) as running:
        yield House(provider, running, key, folder)


KEYS = {name: Key.new() for name in ("holdout", "careful", "narrow")}


def as_key(name: str) -> dict[str, str]:
    """The headers of another team."""
    return {"authorization": f"Bearer {KEYS[name].secret}"}


def patient(client: httpx.Client, path: str, body: object, **headers: str) -> httpx.Response:
    """The answer to a request whose fit was not refused for want of time on a busy machine."""
    for _ in range(20):
        answer = client.post(path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        said = answer.text if path == "/weir/explain" else answer.headers["x-weir-reason"]
        if "fit_refused" not in said:
            break
    return answer


def receipt_of(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The receipt of an answer."""
    found: dict[str, Any] = client.get(
        f"/weir/receipts/{answer.headers['x-weir-request-id']}"
    ).json()
    return found


@pytest.mark.parametrize(
    ("document", "passage"), [(prose(), PASSAGE), (records(2200), FACT)], ids=["prose", "records"]
)
def test_a_question_about_one_passage_sends_the_passage_and_little_else(
    house: House, document: str, passage: str
) -> None:
    """Of 90K tokens the part that answers is sent, and the receipt shows both costs."""
    with house.client() as client:
        found = patient(client, "/weir/explain", ask(document)).json()
        assert found["measurement"]["prompt_tokens"] > 80_000
        assert found["measurement"]["need"] == "lookup"
        assert "trim" in found["plan"]["action"]
        sent = found["would_send"]["messages"][0]["content"]
        assert passage in sent
        assert len(sent) < len(document) / 5
        assert found["cuts"]
        assert all(cut["tokens"] > 0 and len(cut["sha256"]) == 64 for cut in found["cuts"])

        answer = patient(client, "/v1/chat/completions", ask(document))
        assert FACT in answer.json()["choices"][0]["message"]["content"]
        assert "trim" in answer.headers["x-weir-action"]
        after, before = map(int, answer.headers["x-weir-prompt-tokens"].split("/"))
        assert after < before / 5
        receipt = receipt_of(client, answer)
        assert receipt["tokens"]["original_prompt"] == before
        assert receipt["tokens"]["sent_prompt"] == answer.json()["usage"]["prompt_tokens"]
        assert float(receipt["cost_usd"]) < float(receipt["baseline_usd"]) / 5
        assert float(receipt["saved_usd"]) == pytest.approx(
            float(receipt["baseline_usd"]) - float(receipt["cost_usd"])
        )
        codes = {reason["code"] for reason in receipt["reasons"]}
        assert {"beyond_effective_context", "only_a_part_is_needed"} <= codes
        audit = client.get(f"/weir/receipts/{receipt['request_id']}/audit").json()
        assert audit["cuts"]
        assert "text" not in audit["cuts"][0]


def test_a_question_about_the_whole_document_gets_all_of_it(house: House) -> None:
    """Where every place counts nothing is cut away."""
    body = ask(prose(), ALL)
    with house.client() as client:
        found = client.post("/weir/explain", json=body).json()
    assert found["measurement"]["need"] in {"synthesis", "transform"}
    assert found["would_send"]["messages"] == body["messages"]
    assert found["cuts"] == []
    assert found["plan"]["model"] in {MID, LONG}


def test_what_no_other_model_can_read_goes_to_the_long_one(house: House) -> None:
    """A whole-document question beyond the asked-for window is answered by the long model."""
    body = ask(prose(1500), ALL, model=SMALL)
    with house.client() as client:
        found = client.post("/weir/explain", json=body).json()
        assert found["measurement"]["prompt_tokens"] > 150_000
        chosen = [c for c in found["candidates"] if c["why_not"] is None]
    assert found["plan"]["model"] == chosen[0]["model"]
    assert all(c["why_not"] for c in found["candidates"] if c["model"] != found["plan"]["model"])


def test_nothing_chosen_is_expected_to_cost_more_than_as_asked(house: House) -> None:
    """For any of these requests the plan's expected cost is at most the baseline's."""
    bodies = [
        {"model": MID, "messages": [{"role": "user", "content": "Hi there"}]},
        {"model": MID, "messages": [{"role": "user", "content": "Prove that 2 is prime."}]},
        {"model": SMALL, "messages": [{"role": "user", "content": "Hi there"}]},
        ask(prose(100)),
        ask(records(100), ALL),
    ]
    with house.client() as client:
        for body in bodies:
            found = client.post("/weir/explain", json=body).json()
            chosen = next(c for c in found["candidates"] if c["why_not"] is None)
            assert float(chosen["expected_usd"]) <= float(found["baseline"]["expected_usd"])


@pytest.mark.parametrize(
    "headers", [{"x-weir-mode": "pass"}, {"x-weir-mode": "pass", "x-weir-fit": "trim"}]
)
def test_mode_pass_sends_the_request_as_it_came(house: House, headers: dict[str, str]) -> None:
    """A client may forbid everything: its own bytes go to the model it named."""
    body = ask(prose(120))
    with house.client() as client:
        found = client.post("/weir/explain", json=body, headers=headers).json()
        assert found["would_send"] == body
        answer = client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.headers["x-weir-action"] == "pass"
    assert answer.headers["x-weir-model"] == MID


def test_fit_off_keeps_the_prompt_whole(house: House) -> None:
    """A client may forbid cutting while routing stays allowed."""
    body = ask(prose())
    with house.client(**{"x-weir-fit": "off"}) as client:
        found = client.post("/weir/explain", json=body).json()
    assert found["would_send"]["messages"] == body["messages"]
    assert {c["way"] for c in found["candidates"]} == {"whole"}


def test_a_team_that_forbids_cuts_is_never_cut(house: House) -> None:
    """forbid in the policy holds whatever the client asks for."""
    body = ask(prose())
    with house.client(**as_key("careful")) as client:
        found = client.post("/weir/explain", json=body, headers={"x-weir-fit": "trim"}).json()
    assert found["would_send"] == body
    assert found["plan"]["action"] == "pass"


def test_a_team_limited_to_a_tier_is_served_by_that_tier(house: House) -> None:
    """allow narrows what may be chosen, asked for and listed."""
    with house.client(**as_key("narrow")) as client:
        assert {m["id"] for m in client.get("/v1/models").json()["data"]} == {"auto", SMALL}
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.headers["x-weir-model"] == SMALL
        asked = client.post("/v1/chat/completions", json={**body, "model": MID})
    assert asked.status_code == 403 or asked.headers["x-weir-model"] == SMALL


def test_a_held_out_session_is_left_alone(house: House) -> None:
    """With a holdout of 100% the very bytes of the client are sent, and the arm says so."""
    body = ask(prose(), model=MID)
    with house.client(**as_key("holdout")) as client:
        found = client.post("/weir/explain", json=body).json()
        assert found["would_send"] == body
        assert found["plan"]["arm"] == "holdout"
        answer = client.post("/v1/chat/completions", json=ask(prose(20, seed=99)))
        receipt = receipt_of(client, answer)
    assert (answer.headers["x-weir-arm"], answer.headers["x-weir-action"]) == ("holdout", "pass")
    assert (receipt["arm"], receipt["action"], receipt["saved_usd"]) == ("holdout", "pass", "0")


def test_a_session_over_several_turns_is_one_session(house: House) -> None:
    """Turns share session and task on their receipts and stay with one model while warm."""
    messages: list[dict[str, str]] = [{"role": "user", "content": "Tell me about " + PASSAGE}]
    served = []
    with house.client(**{"x-weir-session": "s-1", "x-weir-task": "t-1"}) as client:
        for turn in range(4):
            answer = client.post("/v1/chat/completions", json={"model": MID, "messages": messages})
            served.append(answer.headers["x-weir-model"])
            messages.append(answer.json()["choices"][0]["message"])
            messages.append({"role": "user", "content": f"And what about point {turn + 1}?"})
        by_session = client.get("/weir/receipts?session=s-1").json()["data"]
        by_task = client.get("/weir/receipts?task=t-1").json()["data"]
    assert len(by_session) == len(by_task) == 4
    prompts = [r["tokens"]["original_prompt"] for r in reversed(by_session)]
    assert prompts == sorted(prompts)
    assert len(set(prompts)) == 4


def test_a_receipt_is_seen_by_its_own_team_only(house: House) -> None:
    """Another team's key finds neither the receipt nor its audit."""
    with house.client() as client:
        body = {"model": MID, "messages": [{"role": "user", "content": "Hi"}]}
        request_id = client.post("/v1/chat/completions", json=body).headers["x-weir-request-id"]
        assert client.get(f"/weir/receipts/{request_id}").status_code == 200
    with house.client(**as_key("careful")) as client:
        assert client.get(f"/weir/receipts/{request_id}").status_code == 404
        assert client.get(f"/weir/receipts/{request_id}/audit").status_code == 404
        listed = client.get("/weir/receipts?limit=1000").json()["data"]
    assert request_id not in {row["request_id"] for row in listed}


def test_a_dry_run_sends_and_bills_nothing(house: House) -> None:
    """Explain leaves the provider's count, the ledger and the session as they were."""
    with house.client() as client:
        before = get(house.provider.url + "/sim/served").json()
        rows = client.get("/weir/receipts?limit=1000").json()["data"]
        client.post("/weir/explain", json=ask(prose(50)))
        assert client.get("/weir/receipts?limit=1000").json()["data"] == rows
    assert get(house.provider.url + "/sim/served").json() == before


def test_tags_and_user_stand_on_the_receipt_and_not_in_the_body(house: House) -> None:
    """What the client says of itself in our headers is recorded and never sent on."""
    tags = {"x-weir-tags": "feature=search,env=prod", "x-weir-user": "ana"}
    body = {"model": MID, "messages": [{"role": "user", "content": "Hi"}]}
    with house.client(**tags) as client:
        receipt = receipt_of(client, client.post("/v1/chat/completions", json=body))
        sent = client.post("/weir/explain", json=body).json()["would_send"]
    assert receipt["tags"] == {"feature": "search", "env": "prod"}
    assert receipt["user"] == "ana"
    assert "ana" not in json.dumps(sent)


def test_the_user_of_the_body_is_the_user_of_the_receipt(house: House) -> None:
    """OpenAI's own `user` field names the end user where no header does."""
    body = {"model": MID, "user": "bea", "messages": [{"role": "user", "content": "Hi"}]}
    with house.client() as client:
        receipt = receipt_of(client, client.post("/v1/chat/completions", json=body))
    assert receipt["user"] == "bea"


def test_observe_mode_changes_nothing_and_says_what_it_would_have_done(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In observe mode the request goes as asked; the plan carries what would have been."""
    folder = tmp_path_factory.mktemp("observe")
    config = f"""
database: sqlite:///{folder}/weir.db
upstreams: {{ openai: {{ kind: openai, base_url: "{house.provider.url}/v1", provider: openai }} }}
models: {{ {SMALL}: {{ upstream: openai, tier: small }}, {MID}: {{ upstream: openai }} }}
routing: {{ mode: observe }}
teams: {{ t: {{ keys: [main] }} }}
keys: {{ main: {house.key.hash} }}
"""
    with gateway(folder, config) as running:
        observed = House(house.provider, running, house.key, folder)
        with observed.client() as client:
            body = ask(prose(150))
            found = client.post("/weir/explain", json=body).json()
            answer = client.post("/v1/chat/completions", json=body)
            receipt = receipt_of(client, answer)
    assert found["would_send"] == body
    assert found["plan"]["would"] is not None
    assert found["plan"]["would"]["way"] == "trim" or found["plan"]["would"]["model"] == SMALL
    assert (receipt["arm"], receipt["action"], receipt["served_model"]) == ("observe", "pass", MID)


def test_a_model_that_is_named_inside_a_tool_loop_answers(house: House) -> None:
    """Whoever changes the model between two tool results gets it, in both directions."""
    look = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages: list[dict[str, object]] = [{"role": "user", "content": "Look it up and say it."}]
    served = []
    with house.client(**{"x-weir-session": "named-in-a-loop"}) as client:
        for model in ("gpt-6.1-sol", "gpt-6-luna", "gpt-6-luna", "gpt-6.1-sol"):
            body = {"model": model, "messages": messages, "tools": [look], "max_tokens": 50}
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
            served.append(answer.headers["x-weir-model"])
            messages = [
                *messages,
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": f"row {len(messages)}"},
            ]
    assert served == ["gpt-6.1-sol", "gpt-6-luna", "gpt-6-luna", "gpt-6.1-sol"]
