"""weir.yaml: the whole language loads, and every mistake names file, line, key and fix."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.settings import Settings, parse
from gateway.yaml_text import unveil, veil

HASHES = [f"sha256:{digit * 64}" for digit in "12345"]
ENVIRON = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a"}
WHOLE = f"""\
version: 1
timezone: Europe/Berlin
database: sqlite:///weir.db
shared_state: null

upstreams:
  openai:    {{ kind: openai,    base_url: https://api.openai.com/v1, api_key: ${{OPENAI_API_KEY}},
               timeouts: {{ connect: 5, first_byte: 60, idle: 60, total: 600 }} }}
  anthropic: {{ kind: anthropic, api_key: ${{ANTHROPIC_API_KEY}} }}
  bedrock:   {{ kind: litellm }}
  vllm:      {{ kind: openai,    base_url: http://10.0.0.5:8000/v1 }}

models:
  gpt-6-luna:        {{ upstream: openai,    tier: small }}
  gpt-6.1-sol:       {{ upstream: openai,    tier: mid }}
  claude-sonnet-5-5: {{ upstream: anthropic, tier: mid, fallbacks: [gpt-6.1-sol] }}
  gemini-4-argon:    {{ upstream: bedrock, model: gemini/gemini-4-argon, tier: long }}
  house-llama:       {{ upstream: vllm, model: llama-4-8b, tier: small, context_window: 131072,
                       effective_context: 24000, price: {{ input: 0.05, output: 0.10 }} }}

routing:
  mode: route
  baseline: gpt-6.1-sol
  quality: {{ floor: 97% of requested, unproven: keep }}
fit:
  allow: [lossless, trim, compress]
  keep_recent: 4096
  ratio: 10
  summarizer: {{ backend: torch, model: some/model, device: auto }}
holdout: 5% of sessions
prices: {{ contracts: [], unpriced: reject }}
record: {{ bodies: never }}

ladders:
  steady:
    80%:  [notify, route: cheaper]
    95%:  [route: small, compress: hard, max_output: 2000]
    100%: reject
    pace 130%: notify
    burn 8x in 1h: [notify, throttle: 50%]

budget: 60000 per month
at: steady
limits: {{ max_request: 5.00, max_output: 16000 }}

teams:
  support:
    cost_center: CC-1200
    owner: ana@acme.example
    budget: [18000 per month, 1200 per day]
    allow: [small, mid]
    projects:
      chat: {{ budget: 12000 per month, keys: [chat-prod] }}
      mail: {{ budget: 4000 per month, keys: [mail-prod], prefer: {{ fit: hard }} }}
  engineering:
    budget: [25000 per month, 60 per user per day]
    keys: [ide, ci]
    limits: {{ rpm: 600, tpm: 2000000, concurrency: 50 }}
  claims:
    budget: 30000 per month
    keys: [claims-prod]
    allow: [claude-sonnet-5-5]
    forbid: [trim, compress, downgrade, response_cache]
    holdout: 0%
    region: eu

keys:
  chat-prod: {HASHES[0]}
  mail-prod: {HASHES[1]}
  ide: {HASHES[2]}
  ci: {HASHES[3]}
  claims-prod: {HASHES[4]}
"""
SMALL = f"""\
upstreams:
  sim: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }}
models:
  one: {{ upstream: sim, tier: small }}
  two: {{ upstream: sim }}
teams:
  t: {{ keys: [k] }}
keys:
  k: {HASHES[0]}
"""


def loaded(text: str) -> Settings:
    """The settings of a text."""
    return parse(text, "weir.yaml", ENVIRON)


def test_the_whole_language_loads() -> None:
    """Every section of the policy language is read into its place."""
    settings = loaded(WHOLE)
    assert settings.upstreams["openai"].api_key == "sk-o"
    assert settings.upstreams["openai"].provider == "openai"
    assert settings.upstreams["anthropic"].provider == "anthropic"
    assert settings.upstreams["vllm"].output_limit_field == "max_tokens"
    assert settings.models["house-llama"].effective_context == 24000
    assert settings.routing.baseline == "gpt-6.1-sol"
    assert settings.policy.floor == 0.97
    keys = {key.name: key for key in settings.accounts.keys.values()}
    assert (keys["chat-prod"].team, keys["chat-prod"].project) == ("support", "chat")
    assert keys["claims-prod"].forbid >= {"trim", "compress", "downgrade"}
    assert (keys["claims-prod"].holdout, float(keys["ide"].holdout)) == (0, 0.05)
    assert keys["ide"].max_output == 16000
    assert set(settings.secrets) == {"sk-o", "sk-a"}


def test_files_lie_beside_the_configuration() -> None:
    """A relative database and journal are of the file's folder, whatever folder one is in."""
    found = parse(SMALL, "/etc/weir/weir.yaml", ENVIRON)
    assert found.database == "sqlite:////etc/weir/weir.db"
    assert found.journal == "/etc/weir/weir-journal"
    away = parse(SMALL + "journal: /var/lib/weir\n", "/etc/weir/weir.yaml", ENVIRON)
    assert away.journal == "/var/lib/weir"


def test_the_hash_is_the_texts_own() -> None:
    """Two texts never share a hash, and the same text always has the same one."""
    assert loaded(SMALL).hash == loaded(SMALL).hash
    assert loaded(SMALL).hash != loaded(SMALL + "# a comment\n").hash


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        ("tier: small", "tier: tiny", 4, "models.one.tier", "small"),
        ("tier: small", "teir: small", 4, "models.one.teir", "did you mean 'tier'"),
        ("upstream: sim,", "upstream: sin,", 4, "models.one.upstream", "did you mean 'sim'"),
        ("kind: openai", "kind: soap", 2, "upstreams.sim.kind", "openai"),
        ("http://127", "ftp://127", 2, "upstreams.sim.base_url", "https://host/v1"),
        ("keys: [k]", "keys: [q]", 7, "", "q"),
        ("keys: [k]", "key: [k]", 7, "teams.t.key", "did you mean 'keys'"),
        ("keys: [k]", "keys: [k], budget: lots", 7, "teams.t.budget", "per month"),
        ("keys: [k]", "keys: [k], budget: -5 per day", 7, "teams.t.budget", "-5"),
        ("keys: [k]", "keys: [k], holdout: half", 7, "teams.t.holdout", "5%"),
        ("keys: [k]", "keys: [k], forbid: [everything]", 7, "teams.t.forbid.0", "trim"),
        ("keys: [k]", "keys: [k], prefer: { fit: nonsense }", 0, "", "nonsense"),
        ("keys: [k]", "keys: [k], at: nowhere", 0, "", "nowhere"),
        (f"k: {HASHES[0]}", "k: sha256:abc", 9, "keys.k", "sha256"),
        ("upstreams:", "timezone: Mars/Base\nupstreams:", 1, "timezone", "IANA"),
        ("upstreams:", "version: 2\nupstreams:", 1, "version", "1"),
        ("upstreams:", "qqqq: red\nupstreams:", 1, "qqqq", "remove it"),
        ("upstreams:", "server: { port: 99999 }\nupstreams:", 1, "server.port", "65535"),
        ("upstreams:", "routing: { baseline: three }\nupstreams:", 1, "routing.baseline", "one"),
        ("upstreams:", "routing: { mode: fast }\nupstreams:", 1, "routing.mode", "observe"),
        ("upstreams:", "fit: { ratio: 0 }\nupstreams:", 1, "fit.ratio", "greater than 1"),
        ("  two:", "  one: { upstream: sim }\n  two:", 5, "", "duplicate"),
        ("  two: { upstream: sim }", "  auto: { upstream: sim }", 5, "models.auto", "another name"),
        ("  two: { upstream: sim }", "  two: {}", 5, "models.two", "required"),
        ("  two: { upstream: sim }", "  two: [", 7, "", "YAML"),
        ("base_url", "api_key: ${NOT_SET}, base_url", 2, "upstreams.sim.api_key", "export NOT_SET"),
        ("  two: { upstream: sim }", "  two: { upstream: sim, fallbacks: [noe] }", 5,
         "models.two.fallbacks", "did you mean 'one'"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_key_and_fix(
    old: str, new: str, line: int, key: str, says: str
) -> None:
    """One mistake gives one sentence: where it stands and what would fix it."""
    assert old in SMALL
    with pytest.raises(ConfigError) as caught:
        loaded(SMALL.replace(old, new, 1))
    message = str(caught.value)
    place = re.match(r"weir\.yaml:(\d+): ", message)
    assert place, message
    if line:
        assert int(place[1]) == line, message
    assert key in message
    assert says in message
    assert "Fix: " in message


@pytest.mark.parametrize("text", ["", "- a\n", "just words", "7", "null"])
def test_a_file_that_is_no_mapping_says_so(text: str) -> None:
    """An empty file or a list is refused with the way to a good one."""
    with pytest.raises(ConfigError, match=r"not a mapping.*weir init"):
        loaded(text)


def test_a_secret_is_in_no_message() -> None:
    """A key of the wrong type is refused without being repeated."""
    with pytest.raises(ConfigError) as caught:
        loaded(SMALL.replace("base_url", "api_key: 123456789, base_url"))
    assert "123456789" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace(HASHES[0], "weir-MYSECRETVALUE"),
        SMALL.replace(HASHES[0], "{ hash: weir-MYSECRETVALUE }"),
        SMALL.replace(f"  k: {HASHES[0]}", "  [weir-MYSECRETVALUE]"),
        SMALL.replace("models:", "  o: sk-live-MYSECRETVALUE\nmodels:", 1),
        SMALL.replace("kind: openai", "kind: sk-live-MYSECRETVALUE", 1),
        SMALL.replace("base_url: ", "base_url: sk-live-MYSECRETVALUE, provider: ", 1),
    ],
)
def test_a_secret_put_in_the_wrong_place_is_in_no_message(text: str) -> None:
    """Whatever stands under `keys` or `upstreams` is refused without being repeated."""
    assert text != SMALL
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert "MYSECRETVALUE" not in str(caught.value)
    assert caught.value.key.split(".")[0] in ("keys", "upstreams")


@pytest.mark.parametrize(
    "url",
    ["mysql://weir:MYSECRETVALUE@db/weir", "mysql://weir:MY@MYSECRETVALUE@db/weir", "weir.db",
     "sqlite://", "sqlite:///", "postgresql://weir:MYSECRETVALUE%zz@db/weir"],
)  # fmt: skip
def test_a_database_that_is_not_supported_is_a_mistake_of_the_file(url: str) -> None:
    """It is found when the file is read, with its line, and without its password."""
    with pytest.raises(ConfigError) as caught:
        loaded(f"database: '{url}'\n{SMALL}")
    assert (caught.value.where, caught.value.key) == ("weir.yaml:1", "database")
    assert "MYSECRETVALUE" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "url", "found"),
    [
        ("weir.yaml", "sqlite:///weir.db", "sqlite:///weir.db"),
        ("/srv/weir.yaml", "sqlite:///data/weir.db", "sqlite:////srv/data/weir.db"),
        ("/srv/weir.yaml", "sqlite:////var/weir.db", "sqlite:////var/weir.db"),
        ("/srv/weir.yaml", "postgresql://u@db/weir", "postgresql://u@db/weir"),
    ],
)
def test_a_relative_database_lies_beside_the_file(source: str, url: str, found: str) -> None:
    """Wherever a command is run from, it is the same ledger."""
    assert parse(f"database: {url}\n{SMALL}", source, ENVIRON).database == found


def test_a_config_error_has_a_short_form_without_values() -> None:
    """What an open page may tell of a mistake: the file's name, the line and the key."""
    error = ConfigError("/srv/here/weir.yaml:7", "teams.a.budget", "'x' is no budget", "write one")
    assert error.at == "weir.yaml:7: teams.a.budget"
    assert ConfigError("weir.yaml:1", "", "not YAML", "mend it").at == "weir.yaml:1"


def test_no_model_at_all_is_refused() -> None:
    """A gateway without a model could serve nothing."""
    text = SMALL.replace("  one: { upstream: sim, tier: small }\n  two: { upstream: sim }", "  {}")
    with pytest.raises(ConfigError, match="no model is declared"):
        loaded(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_veiled_reference_comes_back(text: str) -> None:
    """Veiling touches `${NAME}` alone, and unveiling gives it back."""
    if "\ue000" in text or "\ue001" in text:
        return
    around = f"{text}${{SOME_NAME}}{text}"
    assert unveil(veil(around)) == around
    assert "${SOME_NAME}" not in veil(around)


@given(
    place=st.integers(0, len(WHOLE) - 1),
    cut=st.integers(0, 30),
    put=st.text("{}[]:,-# \n\t'\"&*!|>%@`~0aé$\x00", max_size=6),
)
def test_any_damage_is_a_config_error_or_still_valid(place: int, cut: int, put: str) -> None:
    """A file damaged anywhere loads or is refused in words; nothing else is ever raised."""
    damaged = WHOLE[:place] + put + WHOLE[place + cut :]
    try:
        loaded(damaged)
    except ConfigError as error:
        place = error.where
    else:
        place = "weir.yaml:"
    assert place.startswith("weir.yaml:")


@pytest.mark.parametrize(
    ("upstream", "said"),
    [
        ("vllm", None),
        ("openai", None),
        ("anthropic", "does not speak OpenAI's wire"),
        ("vlm", "did you mean 'vllm'?"),
    ],
)
def test_a_summariser_asks_an_upstream_that_can_answer(upstream: str, said: str | None) -> None:
    """An unknown upstream, or one of another wire, is found at load and not at the first cut."""
    text = WHOLE.replace(
        "backend: torch, model: some/model, device: auto",
        f"backend: openai, model: m, upstream: {upstream}",
    )
    assert text != WHOLE
    if said is None:
        assert loaded(text).fit.summarizer.upstream == upstream
        return
    with pytest.raises(ConfigError, match=r"summarizer\.upstream") as refused:
        loaded(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("allow: [claude-sonnet-5-5]", "allow: [claude-sonet-5-5]", "claude-sonnet-5-5"),
        ("allow: [small, mid]", "allow: [small, medium]", "model or tier 'medium'"),
        ("owner: ana@acme.example", "baseline: gpt-6.1-sun", "gpt-6.1-sol"),
    ],
)
def test_a_team_names_only_models_that_are_declared(was: str, now: str, said: str) -> None:
    """A slip in a team's `allow` or `baseline` is found at load, with the nearest name."""
    with pytest.raises(ConfigError, match=r"teams\.") as refused:
        loaded(WHOLE.replace(was, now))
    assert said in str(refused.value)
