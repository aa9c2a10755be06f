"""What labels teach, how much one key may say, and when drift sets it aside."""

from __future__ import annotations

from router.learning import (
    ALONE,
    LARGE,
    SET_ASIDE_MS,
    SIGNALS,
    SMALL,
    Escalations,
    Label,
    TaskBook,
    alike,
    task_of,
)

AT = 1_780_272_000_000
TASK = task_of("t", "You sort mail.", "lookup")


def label(signal: str, *, key: str = "k", size: str = SMALL, promised: float = 0.9) -> Label:
    return Label(TASK, size, signal, key, promised, AT)


def test_a_task_is_its_team_prompt_and_need() -> None:
    """Another team, system prompt or kind of reading is another task; no text stands in it."""
    others = {
        task_of("u", "You sort mail.", "lookup"),
        task_of("t", "You write mail.", "lookup"),
        task_of("t", "You sort mail.", "chat"),
    }
    assert TASK not in others
    assert len(others) == 3
    assert "mail" not in TASK


def test_means_are_shrunk_to_the_score() -> None:
    """A few labels move the mean a little, many bring it to what they say."""
    book = TaskBook()
    assert book.share(TASK, SMALL, 0.8) == (0.0, 0.0)
    for _ in range(5):
        book.note(label("judged_bad"))
    assert 0.5 < book.share(TASK, SMALL, 0.8)[1] < 0.6
    for _ in range(200):
        book.note(label("judged_good"))
    count, share = book.share(TASK, SMALL, 0.1)
    assert count > 150
    assert share > 0.9


def test_small_and_large_are_apart() -> None:
    """Labels of large models say nothing of small ones."""
    book = TaskBook()
    for _ in range(50):
        book.note(label("rejected", size=LARGE))
    assert book.share(TASK, SMALL, 0.8) == (0.0, 0.0)
    assert book.share(TASK, LARGE, 0.9)[1] < 0.3


def test_one_key_cannot_poison_what_others_use() -> None:
    """Of a task that several keys use, one counts for at most half, however much it says."""
    book = TaskBook()
    for number in range(40):
        book.note(label("accepted", key=f"k{number % 4}"))
    for _ in range(2_000):
        book.note(label("rejected", key="poison", promised=0.0))
    assert book.share(TASK, SMALL, 0.8)[1] > 0.45
    alone = TaskBook()
    for _ in range(int(ALONE) * 5):
        alone.note(label("accepted"))
    assert alone.share(TASK, SMALL, 0.8)[0] > ALONE * 4


def test_drift_raises_one_alarm_and_rolls_back() -> None:
    """Small models that do worse than promised: one alarm, their labels forgotten, set aside."""
    book = TaskBook()
    for _ in range(100):
        assert not book.note(label("judged_good"))
    alarms = [book.note(label("judged_bad")) for _ in range(12)]
    assert alarms.count(True) == 1
    assert book.drifting(AT + SET_ASIDE_MS - 1)
    assert not book.drifting(AT + SET_ASIDE_MS)
    assert book.share(TASK, SMALL, 0.8)[0] < 8


def test_what_was_promised_is_no_drift() -> None:
    """Models that do as well as was promised raise no alarm in 2,000 labels."""
    book = TaskBook()
    signals = ["judged_good"] * 9 + ["judged_bad"]
    assert not any(book.note(label(signals[n % 10])) for n in range(2_000))


def test_every_signal_has_a_weight_below_a_judges() -> None:
    """What is only implied never weighs more than what was judged or said."""
    assert all(0 < weight <= 1 for _, weight in SIGNALS.values())
    assert SIGNALS["went_on"][1] < SIGNALS["asked_again"][1] < SIGNALS["rejected"][1]


def test_only_so_many_tasks_are_remembered() -> None:
    """The task that was quiet longest is forgotten first."""
    book = TaskBook(limit=2)
    for task in ("a", "b", "a", "c"):
        book.note(Label(task, SMALL, "accepted", "k", 0.9, AT))
    assert book.share("b", SMALL, 0.5) == (0.0, 0.0)
    assert book.share("a", SMALL, 0.5)[0] > 1


def test_alike_questions() -> None:
    """Most words in common is asked again; none is another question."""
    assert alike("Who wrote it and when?", "who wrote it and when?") == 1
    assert alike("Who wrote it?", "Name three rivers") == 0
    assert alike("", "x") == 0


def test_escalations_are_counted_by_day() -> None:
    """A key's spend on going up starts from nothing each UTC day; others have their own."""
    book = Escalations(limit=2)
    book.note("k", 500, AT)
    book.note("k", -9, AT)
    assert (book.spent_nano("k", AT), book.spent_nano("j", AT)) == (500, 0)
    assert book.spent_nano("k", AT + 86_400_000) == 0
    book.note("k", 7, AT + 86_400_000)
    assert book.spent_nano("k", AT + 86_400_000) == 7
    for key in ("a", "b"):
        book.note(key, 1, AT + 86_400_000)
    assert book.spent_nano("k", AT + 86_400_000) == 0
