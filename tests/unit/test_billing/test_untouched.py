"""What untouched traffic says of a model, and what that does to the counterfactual."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import untouched
from billing.counterfactual import Original, scaled, tokenmaxxed
from billing.desk import Desk
from billing.ledger import Ledger
from billing.prices import PriceBook
from billing.receipt import Attempt, Line, Receipt
from billing.savings import Savings, Session, measure
from billing.split import Journey, split, steps_of
from billing.untouched import MIN_ANSWERS, MIN_RETRIES, Norm, Norms, Tally, class_of, refresh
from billing.usage import Usage

NOON = 1_795_348_800_000
DAY = 86_400_000
EASY = {"need": {"kind": "lookup"}, "complexity": {"small_is_enough": 0.8}}


def held(money, name: str = "r", reasoning: int = 500, retry: int = 0, **more: object) -> Receipt:  # type: ignore[no-untyped-def]  # conftest's
    """An untouched answer of 1,000 nano after a failed attempt of ``retry`` nano."""
    lines = [Line(f"{name}-b", "input", 1_000, "0.001", 1_000, "sha256:b", "r")]
    if retry:
        lines.append(Line(f"{name}-a", "input", retry, "0.001", retry, "sha256:b", "r"))
    tried = [
        Attempt(f"{name}-{one}", "gpt-6.1-sol", "openai", 200, "ok", None, 2.0) for one in "ab"
    ]
    fields: dict[str, object] = {
        "cost": 1_000 + retry, "arm": "holdout", "served_model": "gpt-6.1-sol", "action": "pass",
        "reasoning_tokens": reasoning, "lines": tuple(lines), "attempts": tuple(tried),
        "decision": EASY,
    }  # fmt: skip
    made: Receipt = money.receipt(name, **{**fields, **more})
    return made


def test_too_few_observations_change_nothing(money) -> None:  # type: ignore[no-untyped-def]  # conftest's
    """Below the minimum a model has no mean and no retries; from there on it has."""
    tally = Tally()
    for count in range(1, MIN_RETRIES + 1):
        tally.add(held(money, f"r{count}", reasoning=count, retry=20))
        found = tally.norms().of("gpt-6.1-sol", "lookup/easy")
        assert (found.answers, found.retries_of) == (count, count)
        assert (found.reasoning_tokens is None) == (count < MIN_ANSWERS)
        assert found.retry_rate == (Decimal("0.02") if count >= MIN_RETRIES else 0)
    assert found.reasoning_tokens == 50  # of 1..100, half to even
    assert tally.norms().of("gpt-6.1-sol", "lookup/hard").reasoning_tokens is None
    assert Norms().of("m", "chat/easy") == Norm()


@pytest.mark.parametrize(
    "fields",
    [
        {"arm": "routed"}, {"status": 502}, {"served_model": "spare"},
        {"usage_source": "estimated"}, {"attempts": (), "lines": (), "cost": 0},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_only_untouched_answers_count(money, fields: dict[str, object]) -> None:  # type: ignore[no-untyped-def]  # conftest's
    """Routed, failed, served by another model, or not counted by the provider: left out."""
    tally = Tally()
    tally.add(held(money, **fields))  # type: ignore[arg-type]  # any field of a receipt
    assert tally.days == {}


def test_observe_mode_tells_of_retries_alone(money) -> None:  # type: ignore[no-untyped-def]  # conftest's
    """It is untouched, but no random sample of the requests that are routed."""
    tally = Tally()
    tally.add(held(money, arm="observe", retry=30))
    norms = tally.norms()
    assert (norms.reasoning, norms.retries) == ({}, {"gpt-6.1-sol": (1, 1_000, 30)})


def test_a_class_is_reading_and_difficulty() -> None:
    """By the record of the decision; one without such a record is of a class of its own."""
    assert class_of(EASY) == "lookup/easy"
    assert class_of({**EASY, "complexity": {"small_is_enough": 0.49}}) == "lookup/hard"
    assert class_of({}) == "unknown/hard"


def test_processes_share_the_sums_and_add_nothing_twice(
    money,  # type: ignore[no-untyped-def]  # conftest's
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two processes that read in turn, in small batches, have the sums of all receipts."""
    monkeypatch.setattr(untouched, "BATCH", 7)
    url = f"sqlite:///{tmp_path}/weir.db"
    one, two = Desk(url), Desk(url)
    ledger = Ledger(url, money.budgeted("1000 per day"), lambda: NOON).open()
    assert refresh(one, NOON) == (Norms(), False)
    for number in range(40):
        made = held(money, f"r{number}", reasoning=number, at_ms=NOON - number % 3 * DAY)
        ledger.settle(ledger.hold(money.request(made.request_id, 2_000)), made)
    ledger.flush()
    more, turns = True, 0
    while more:
        norms, more = refresh((one, two)[turns % 2], NOON)
        turns += 1
    assert turns == 6
    assert norms.of("gpt-6.1-sol", "lookup/easy").answers == 40
    assert norms.reasoning["gpt-6.1-sol", "lookup/easy"] == (40, sum(range(40)))
    assert refresh(two, NOON) == (norms, False)
    ledger.close()
    one.close()
    two.close()


def test_of_two_that_read_the_same_one_adds(
    money,  # type: ignore[no-untyped-def]  # conftest's
    tmp_path: Path,
) -> None:
    """A process that was overtaken between reading and writing takes the other's sums."""
    url = f"sqlite:///{tmp_path}/weir.db"
    ledger = Ledger(url, money.budgeted("1000 per day"), lambda: NOON).open()
    two = Desk(url)

    class Slow(Desk):
        def change(self, statement: str, *values: object) -> int:
            if statement.startswith("UPDATE"):
                refresh(two, NOON)
            return super().change(statement, *values)

    one = Slow(url)
    refresh(one, NOON)
    made = held(money)
    ledger.settle(ledger.hold(money.request("r", 2_000)), made)
    ledger.flush()
    norms, more = refresh(one, NOON)
    assert (norms.reasoning["gpt-6.1-sol", "lookup/easy"], more) == ((1, 500), True)
    assert refresh(one, NOON) == (norms, False)
    for each in (ledger, one, two):
        each.close()


def test_old_days_are_forgotten(money) -> None:  # type: ignore[no-untyped-def]  # conftest's
    """A model's habits of more than a month ago say nothing of today."""
    tally = Tally()
    for days in (0, untouched.DAYS - 1, untouched.DAYS):
        tally.add(held(money, f"r{days}", at_ms=NOON - days * DAY))
    tally.forget(NOON)
    assert tally.norms().retries["gpt-6.1-sol"][0] == 2
    assert Tally.read(tally.text()) == tally


BOOK = PriceBook.bundled()
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
LARGE = BOOK.price("openai", "gpt-6.1-sol", AT)
SMALL = BOOK.price("openai", "gpt-6-luna", AT)
MEANS = {"lookup/easy": 400, "synthesis/hard": 2_500}
RETRY = 0.06


def _world(dice: random.Random, norms: Norms) -> tuple[Savings, int]:
    """400 sessions, two fifths held out: the large model reasons at length and some of its calls
    fail once and are billed; the small one reasons little.
    The saving as measured, and the true one.
    """
    held_out, routed, true = [], [], 0
    for _ in range(400):
        kind = dice.choice(list(MEANS))
        prompt, said = dice.randint(500, 3_000), dice.randint(50, 400)
        thought = round(dice.gammavariate(4.0, MEANS[kind] / 4))
        truth = LARGE.cost(Usage(input_tokens=prompt, output_tokens=said, reasoning_tokens=thought))
        truth += truth if dice.random() < RETRY else 0
        untouched_one = dice.random() < 0.4
        small = Usage(input_tokens=prompt, output_tokens=said, reasoning_tokens=thought // 8)
        norm = norms.of("gpt-6.1-sol", kind)
        seen = thought if untouched_one else small.reasoning_tokens
        if norm.reasoning_tokens is not None:
            seen = norm.reasoning_tokens
        guess = tokenmaxxed(
            Original(prompt, said, reasoning_tokens=seen, retry_rate=norm.retry_rate), LARGE, None
        )
        assert guess.cost_nano is not None
        if untouched_one:
            held_out.append(Session(truth, guess.cost_nano))
        else:
            routed.append(Session(SMALL.cost(small), guess.cost_nano))
            true += truth - SMALL.cost(small)
    return measure(held_out, routed), true


def known(scale: int = 10_000) -> Norms:
    """The large model's habits, as a long holdout would have shown them."""
    reasoning = {("gpt-6.1-sol", kind): (scale, mean * scale) for kind, mean in MEANS.items()}
    return Norms(reasoning, {"gpt-6.1-sol": (scale, 10**12, round(RETRY * 10**12))})


def test_a_model_that_reasons_longer_is_priced_nearer_to_the_truth() -> None:
    """With the habits of the model asked for kappa is nearer to 1, and the saving to the truth:
    the routed model's few reasoning tokens hide what the large one would have thought.
    """
    dice, fed, bare, covered = random.Random(7), [], [], 0
    for _ in range(40):
        seed = dice.random()
        with_, true = _world(random.Random(seed), known())
        without, same = _world(random.Random(seed), Norms())
        assert true == same
        fed.append((with_.kappa, abs(with_.saved_nano / true - 1)))
        bare.append((without.kappa, abs(without.saved_nano / true - 1)))
        assert with_.low_nano is not None
        assert with_.high_nano is not None
        covered += with_.low_nano <= true <= with_.high_nano
    means = [[sum(row[n] for row in rows) / 40 for n in (0, 1)] for rows in (fed, bare)]
    (kappa_fed, error_fed), (kappa_bare, error_bare) = means
    assert abs(kappa_fed - 1) < 0.02 < 0.04 < abs(kappa_bare - 1)
    assert error_fed < 0.05 < 0.3 < error_bare
    assert covered >= 36


counts = st.integers(0, 5_000)


@given(counts, counts, counts, st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_parts_of_a_saving_add_up_with_another_models_habits(
    prompt: int, said: int, mean: int, extra: int, paid: int
) -> None:
    """Whatever was seen of the model asked for, the causes are the whole saving, to the nano."""
    norm = Norms(
        {("m", "k"): (MIN_ANSWERS, mean * MIN_ANSWERS)}, {"m": (MIN_RETRIES, 10**9, extra)}
    ).of("m", "k")
    assert norm.reasoning_tokens == mean
    found = tokenmaxxed(
        Original(prompt, said, reasoning_tokens=mean, retry_rate=norm.retry_rate), LARGE, None
    )
    assert found.cost_nano is not None
    answer = Usage(input_tokens=prompt, output_tokens=said)
    parts = split(
        steps_of(
            Journey(
                found.usage, LARGE, found.cost_nano, None, answer, SMALL, SMALL.cost(answer),
                SMALL.cost(answer) + paid, paid // 3,
            )
        )
    )  # fmt: skip
    assert parts.saved_nano == found.cost_nano - SMALL.cost(answer) - paid


@given(counts, counts, counts, st.integers(0, 10**9))
def test_a_counterfactual_is_worked_out_again_from_its_record(
    prompt: int, said: int, mean: int, extra: int
) -> None:
    """What the receipt keeps, at the same price book, gives the same nano for ever."""
    rate = Norms({}, {"m": (MIN_RETRIES, 10**9, extra)}).of("m", "k").retry_rate
    found = tokenmaxxed(Original(prompt, said, reasoning_tokens=mean, retry_rate=rate), LARGE, None)
    kept = orjson.loads(orjson.dumps(found.record()))
    again = Decimal(kept.pop("retry_rate", "0"))
    assert scaled(LARGE.cost(Usage(**kept)), 1 + again) == found.cost_nano
