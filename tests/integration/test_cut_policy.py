"""How much a team's policy lets a fit take away, through the whole pipeline."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from documents import ask, prose, records
from fakes import FakeUpstream, plain_reply

from compressor.fit import fit
from compressor.kit import Kit
from compressor.measure import measure
from compressor.media import media_rule
from compressor.recipe import Way
from compressor.tokens import load_counter
from gateway.app import create_app
from gateway.auth import hash_of
from gateway.exchange import Caller, ClientHeaders, Exchange, Prepared
from gateway.pipeline import dry_run
from gateway.settings import parse
from gateway.wire import chat

NOW_MS = 1_795_000_000_000
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "configuring.md"
HEAD = """
database: sqlite:///{folder}/weir.db
upstreams:
  fake: {{ kind: openai, base_url: "http://127.0.0.1:9/v1", api_key: k, provider: openai }}
models: {{ gpt-6.1-sol: {{ upstream: fake }}, gpt-6-luna: {{ upstream: fake, tier: small }} }}
routing: {{ baseline: gpt-6.1-sol }}
"""


def policy(folder: Path) -> str:
    """The guide's last example as a whole file, each key's secret its own name."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    names = re.findall(r"keys: \[(.+?)\]", blocks[-1])
    keys = "".join(f"  {name}: {hash_of(name)}\n" for name in names)
    return f"{HEAD.format(folder=folder)}{blocks[-1]}keys:\n{keys}"


async def prepared(folder: Path, key: str, body: dict[str, object], way: Way) -> Prepared:
    """What the gateway would do with a request of a key."""
    settings = parse(policy(folder), "weir.yaml", {})
    upstream = FakeUpstream(plain_reply())
    app = create_app(settings, upstreams={"fake": upstream}, clock=lambda: NOW_MS)
    await app.start()
    try:
        found = app.shell.snapshot.accounts.named(key)
        assert found is not None
        headers = ClientHeaders(fit=way)
        ex = Exchange("r", NOW_MS, time.perf_counter(), "chat", headers, Caller(found, None))
        await dry_run(app.shell, ex, json.dumps(body).encode())
    finally:
        await app.stop()
    assert ex.prepared is not None
    return ex.prepared


@pytest.mark.parametrize("key", ["legal-prod", "clinic-prod"])
async def test_where_every_word_counts_prose_goes_whole(key: str, tmp_path: Path) -> None:
    """Neither by default nor where the client asks for more is a sentence left out."""
    for asked in (Way.COMPRESS, Way.TRIM):
        told = await prepared(tmp_path, key, ask(prose()), asked)
        assert told.fitted is None
        assert {c.way for c in told.plan.candidates} <= {Way.WHOLE, Way.LOSSLESS}


@pytest.mark.parametrize("key", ["legal-prod", "clinic-prod"])
async def test_records_may_be_said_more_shortly_there(key: str, tmp_path: Path) -> None:
    """A lossless form is taken where it pays: every word of the records is in it."""
    text = records(400)
    told = await prepared(tmp_path, key, ask(text), Way.COMPRESS)
    assert told.fitted is not None
    assert told.fitted.way is Way.LOSSLESS
    sent = told.outbound.decode()
    assert all(word in sent for word in re.findall(r"[A-Za-z]{2}-\d{5}", text))


async def test_other_teams_are_trimmed_and_say_how_hard_the_past_is_remembered(
    tmp_path: Path,
) -> None:
    """A trim is allowed by default; `keep_recent` and `ratio` of the team reach the recipe."""
    told = await prepared(tmp_path, "chat-prod", ask(prose()), Way.COMPRESS)
    assert told.fitted is not None
    assert told.fitted.way is Way.TRIM
    rows = prose(600).split("\n\n")
    talk = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": "\n\n".join(rows[n::30])}
        for n in range(30)
    ]
    talk.append({"role": "user", "content": "And what do you make of all that?"})
    body = {"model": "gpt-6.1-sol", "max_tokens": 100, "messages": talk}
    told = await prepared(tmp_path, "chat-prod", body, Way.COMPRESS)
    recipes = [c.recipe for c in told.plan.candidates if c.way is Way.COMPRESS]
    assert recipes
    assert all(r is not None and (r.keep_recent, r.ratio) == (8192, 4.0) for r in recipes)


@pytest.mark.parametrize("paragraphs", [640, 1_500])
async def test_what_is_sent_is_what_a_fit_alone_gives(paragraphs: int, tmp_path: Path) -> None:
    """In this process or by a helper, with or without the gateway around it."""
    body = ask(prose(paragraphs))
    told = await prepared(tmp_path, "chat-prod", body, Way.TRIM)
    recipe = told.candidate.recipe
    assert recipe is not None
    request = chat.parse(json.dumps(body).encode(), ClientHeaders())
    counter = load_counter("o200k_base")
    size = measure(request.conversation, counter, media_rule("openai_tiles"))
    alone = fit(request.conversation, size, recipe, Kit(counter))
    assert told.fitted is not None
    assert told.fitted.edits == alone.edits
    sent = json.loads(told.outbound)["messages"][0]["content"]
    assert [sent] == [edit.text for edit in alone.edits]
