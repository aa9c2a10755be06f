"""`weir policy lint|grant` and `weir prices check|diff`, called as a shell would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from billing.bundled import bundled_text
from billing.desk import Desk
from billing.grants import grants_until
from gateway.cli import app

RUN = CliRunner()
HASH = "sha256:" + "a" * 64
HEAD = """
database: sqlite:///{folder}/weir.db
upstreams:
  openai: {{ kind: openai, api_key: k }}
  house: {{ kind: openai, base_url: "http://127.0.0.1:9/v1" }}
models:
  gpt-6.1-sol: {{ upstream: openai, tier: mid }}
  local: {{ upstream: house, tier: small, free: true }}
"""
TEAM = f"teams: {{ t: {{ keys: [k], budget: 10 per month }} }}\nkeys: {{ k: '{HASH}' }}\n"


def laddered(actions: str, team: str) -> str:
    """A policy with one ladder of one rung, and one team on it."""
    return (
        f"ladders: {{ l: {{ 80%: {actions} }} }}\nteams: {{ t: {{ at: l, {team} }} }}\n"
        f"keys: {{ k: '{HASH}' }}\n"
    )


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a weir.yaml and gives the options that name it."""

    def written(rest: str = TEAM, **files: str) -> list[str]:
        for name, text in files.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        path = tmp_path / "weir.yaml"
        path.write_text(HEAD.format(folder=tmp_path) + rest)
        return ["--config", str(path)]

    return written


def lints(options: list[str]) -> tuple[int, list[tuple[bool, str, str]]]:
    done = RUN.invoke(app, ["policy", "lint", "--json", *options])
    return done.exit_code, [
        (row["error"], row["where"], row["text"]) for row in json.loads(done.output)
    ]


def test_a_sound_policy_has_nothing_to_say(write: Any) -> None:
    """No finding, exit 0, and a line that says what is declared."""
    options = write()
    assert lints(options) == (0, [])
    done = RUN.invoke(app, ["policy", "lint", *options])
    assert "fine. 2 upstreams, 2 models, 1 keys" in done.output


@pytest.mark.parametrize(
    ("rest", "error", "where", "says"),
    [
        (
            "budget: 5 per month\n" + TEAM,
            False, "organisation/month", "may spend 10 USD together",
        ),
        (
            laddered("[notify, route: small]", "keys: [k], budget: 1 per day, forbid: [downgrade]"),
            True, "t/k", "every brake of ladder 'l' is forbidden here",
        ),
        (
            laddered(
                "{ compress: hard }",
                "budget: 1 per day, projects: { p: { keys: [k], forbid: [trim, compress] } }",
            ),
            True, "t/p/k", "nothing slows it down",
        ),
        ("ladders: { idle: { 80%: reject } }\n" + TEAM, False, "ladders.idle", "no `at:`"),
        (laddered("reject", "keys: [k]"), False, "t/k", "never acts: no budget"),
        (
            TEAM.replace(f"'{HASH}'", f"{{ hash: '{HASH}', expires: 2020-01-31T00:00:00Z }}"),
            False, "keys.k", "expired on 2020-01-31",
        ),
        (
            TEAM.replace(f"'{HASH}'", f"{{ hash: '{HASH}', revoked: true }}"),
            False, "keys.k", "is revoked",
        ),
        (
            TEAM.replace("budget: 10 per month", "budget: [10 per month, 5 per month]"),
            True, "t/month", "budgeted twice",
        ),
        (TEAM.replace("10 per", "0 per"), False, "t/month", "can send nothing"),
        (
            TEAM.replace("{ t:", "{ empty: { budget: 1 per day }, t:"),
            False, "teams.empty", "no keys",
        ),
    ],
)  # fmt: skip
def test_what_a_policy_says_wrongly_is_found(
    write: Any, rest: str, error: bool, where: str, says: str
) -> None:
    """Each mistake has its place and its sentence; errors exit 1, warnings 0."""
    code, found = lints(write(rest))
    mine = [row for row in found if row[1] == where]
    assert mine, found
    assert mine[0][0] is error
    assert says in mine[0][2]
    assert code == int(error)


def test_a_ladder_with_one_brake_left_is_no_error(write: Any) -> None:
    """Forbidding some of its actions is what `forbid` is for."""
    rest = laddered(
        "[route: small, throttle: 50%]", "keys: [k], budget: 1 per day, forbid: [downgrade]"
    )
    assert lints(write(rest)) == (0, [])


def test_a_grant_is_appended_and_told(write: Any, tmp_path: Path) -> None:
    """Node, amount, end, who and why stand in the ledger; the file is as it was."""
    options = write()
    before = (tmp_path / "weir.yaml").read_bytes()
    words = ["t", "1,250.50", "--until", "2027-01-31", "--why", "launch week", "--by", "ana"]
    done = RUN.invoke(app, ["policy", "grant", *words, *options])
    assert done.exit_code == 0, done.output
    assert "Granted 1250.5 USD to t (month) until 2027-01-31" in done.output
    desk = Desk(f"sqlite:///{tmp_path}/weir.db")
    (grant,) = grants_until(desk, 0)
    desk.close()
    assert (grant.node, grant.budget, grant.amount_nano) == ("t", "*", 1_250_500_000_000)
    assert (grant.granted_by, grant.reason) == ("ana", "launch week")
    assert (tmp_path / "weir.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nobody", "5", "2026-12-31", "x"), "no node 'nobody'"),
        (("t", "-5", "2026-12-31", "x"), "not an amount"),
        (("t", "five", "2026-12-31", "x"), "not an amount"),
        (("t", "5", "2020-01-01", "x"), "a grant has an end"),
        (("t", "5", "2099-01-01", "x"), "a grant has an end"),
        (("t", "5", "soon", "x"), "no date"),
        (("t", "5", "2026-12-31", " "), "say why"),
        (("t/k", "5", "2026-12-31", "x"), "no budget of its own"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(
    write: Any, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    """A wrong node, amount, end or reason is said in one line, and nothing is granted."""
    node, amount, until, why = words
    given = ["policy", "grant", "--until", until, "--why", why, *write(), "--", node, amount]
    done = RUN.invoke(app, given)
    assert done.exit_code == 2
    assert says in done.stderr
    assert not (tmp_path / "weir.db").exists()


def findings(options: list[str]) -> tuple[int, list[dict[str, Any]]]:
    done = RUN.invoke(app, ["prices", "check", "--json", *options])
    rows: list[dict[str, Any]] = json.loads(done.output)
    return done.exit_code, rows


def test_prices_that_two_sources_agree_on_need_no_look(write: Any) -> None:
    """gpt-6.1-sol, steps included, is the same in both; a free model has no second opinion."""
    code, rows = findings(write())
    assert [row for row in rows if row["kind"] == "drift"] == []
    assert (code, [row for row in rows if row["look"]]) == (0, [])


def test_a_model_without_a_price_wants_a_look(write: Any) -> None:
    """Refused or at a ceiling, it is found before a request does."""
    options = write(TEAM + "prices: { unpriced: { input: 20, output: 80 } }\n")
    path = Path(options[1])
    path.write_text(path.read_text().replace("free: true", "model: nobody-knows"))
    code, rows = findings(options)
    assert code == 1
    assert ["ceiling" in row["text"] for row in rows if row["kind"] == "unpriced"] == [True]
    path.write_text(
        path.read_text().replace("unpriced: { input: 20, output: 80 }", "unpriced: reject")
    )
    code, rows = findings(options)
    assert code == 1
    assert ["declare one" in row["text"] for row in rows if row["kind"] == "unpriced"] == [True]


def test_contracts_are_checked_for_their_ends_and_steps(write: Any) -> None:
    """A contract that ends soon or has ended wants a look; one with a list step is told."""
    contract = (
        "{ name: %s, author: ana, upstream: openai, until: %s, models: { gpt-6.1-sol: "
        "{ output: 8 } } }"
    )
    rest = TEAM + "prices: { contracts: [old.yaml, good.yaml] }\n"
    options = write(rest, old=contract % ("old", "2020-01-01"), good=contract % ("c", "2098-01-01"))
    code, rows = findings(options)
    assert code == 1
    assert [(row["kind"], row["subject"]) for row in rows if row["look"]] == [
        ("expired", "contract:old gpt-6.1-sol")
    ]
    step = next(row for row in rows if row["kind"] == "step")
    assert "8 by contract:c, 15 above 272,000 tokens" in step["text"]
    shown = RUN.invoke(app, ["prices", "show", "gpt-6.1-sol", *options]).output
    assert "#contract:c; 15 above 272,000 tokens" in shown
    assert "USD/call" in shown


def test_a_contract_that_is_wrong_is_a_wrong_configuration(write: Any) -> None:
    """File, line, key and what to do, exit 2: nothing is half loaded."""
    options = write(TEAM + "prices: { contracts: [gone.yaml] }\n")
    done = RUN.invoke(app, ["policy", "lint", *options])
    assert done.exit_code == 2
    assert "prices.contracts.0" in done.stderr
    assert "gone.yaml cannot be read" in done.stderr
    bad = "{ author: ana, upstream: nobody, models: { m: { output: 1 } } }"
    done = RUN.invoke(
        app, ["policy", "lint", *write(TEAM + "prices: { contracts: [c.yaml] }\n", c=bad)]
    )
    assert done.exit_code == 2
    assert "names upstream 'nobody'" in done.stderr


def test_two_dates_are_compared(write: Any) -> None:
    """What changes between them, by model and component; nothing where nothing does."""
    path = Path(write()[1])
    text = path.read_text().replace(
        "gpt-6.1-sol:", "gemini: { upstream: g, model: gemini-4-argon }\n  gpt-6.1-sol:"
    )
    path.write_text(
        text.replace("upstreams:", "upstreams:\n  g: { kind: litellm, provider: google }")
    )
    options = ["--config", str(path)]
    done = RUN.invoke(app, ["prices", "diff", "2026-11-21", "2026-12-01", "--json", *options])
    rows = {row["component"]: row for row in json.loads(done.output)}
    assert {row["model"] for row in rows.values()} == {"gemini"}
    assert (rows["output"]["before"], rows["output"]["after"]) == ("10", "20")
    assert rows["output"]["percent"] == "100.0"
    same = RUN.invoke(app, ["prices", "diff", "2026-11-21", "2026-11-22", *options])
    assert same.output == "No difference.\n"
    wrong = RUN.invoke(app, ["prices", "diff", "soon", "2026-11-22", *options])
    assert (wrong.exit_code, "neither a date" in wrong.stderr) == (2, True)


def test_two_snapshots_are_compared(tmp_path: Path) -> None:
    """A file against a file, and one that is no snapshot is said."""
    now = tmp_path / "now.jsonl"
    now.write_bytes(bundled_text("prices.jsonl"))
    assert RUN.invoke(app, ["prices", "diff", str(now), str(now)]).output == "No difference.\n"
    now.write_bytes(bundled_text("prices.jsonl") + b" ")
    done = RUN.invoke(app, ["prices", "diff", str(now), str(now)])
    assert (done.exit_code, "hash" in done.stderr) == (2, True)


def test_a_price_is_shown_without_its_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare name is its maker's; one that nobody has says how to name it."""
    monkeypatch.chdir(tmp_path)
    bare, whole = (
        CliRunner().invoke(app, ["prices", "show", name])
        for name in ("gpt-6.1-sol", "openai/gpt-6.1-sol")
    )
    assert (bare.exit_code, bare.output) == (0, whole.output)
    unknown = CliRunner().invoke(app, ["prices", "show", "gpt-61-sol"])
    assert unknown.exit_code == 1
    assert "write provider/model" in unknown.output
