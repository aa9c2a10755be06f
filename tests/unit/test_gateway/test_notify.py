"""Messages about budgets: once a window and rung, to every channel, tried again."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from billing.budget import Window, WindowFigures
from billing.desk import Desk
from gateway.notify import QUEUE, Notice, Notifier, NotifySection, SmtpSection, _window

DAY = 86_400_000
NOW = 20_000 * DAY + 5
LABEL = ("t/day 80%",)


def figures(start: int = 20_000 * DAY, length: int = DAY, user: str | None = None) -> WindowFigures:
    window = Window(start, start + length)
    return WindowFigures("t", "t/day", window, 800, 50, 1000, "tomorrow", user)


class Hook:
    """A web server that answers each POST with the next status, then with 204."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.bodies, self.url = list(statuses), [], ""
        self.paths: list[bytes] = []

    async def __aenter__(self) -> Hook:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.paths.append(head.split(b" ")[1])
        self.bodies.append(orjson.loads(await reader.readexactly(length)))
        status = self.statuses.pop(0) if self.statuses else 204
        extra = f"Location: {self.url}/elsewhere\r\n" if status == 302 else ""
        writer.write(f"HTTP/1.1 {status} S\r\n{extra}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


Made = Callable[[NotifySection], Notifier]


@pytest.fixture
def counted() -> Counter[tuple[str, str]]:
    return Counter()


@pytest.fixture
def made(tmp_path: Path, counted: Counter[tuple[str, str]]) -> Made:
    """Notifiers on one database, as of processes beside one another."""

    def make(section: NotifySection) -> Notifier:
        def count(channel: str, outcome: str) -> None:
            counted[channel, outcome] += 1

        desk = Desk(f"sqlite:///{tmp_path}/weir.db")
        return Notifier(desk, lambda: section, count, pause_s=0.01)

    return make


async def told(notifier: Notifier, tell: Callable[[], object]) -> None:
    notifier.start()
    tell()
    await notifier.stop(10)


async def test_a_rung_is_told_once_in_its_window(made: Made) -> None:
    """A thousand requests on the rung, another process, and a restart send one message."""
    async with Hook() as hook:
        section = NotifySection(webhook=hook.url, log=False)
        for _ in range(2):
            notifier = made(section)
            await told(
                notifier,
                lambda n=notifier: [n.tell(LABEL, None, NOW, lambda: [figures()])] * 1000,
            )
        assert len(hook.bodies) == 1
        following = made(section)
        tomorrow = figures(20_001 * DAY)
        await told(following, lambda: following.tell(LABEL, None, NOW + DAY, lambda: [tomorrow]))
    assert len(hook.bodies) == 2
    body = hook.bodies[0]
    assert (body["budget"], body["rung"], body["limit_usd"]) == ("t/day", "80%", "0.000001")
    assert "t/day has reached 80%" in body["text"]
    assert body["id"] != hook.bodies[1]["id"]


async def test_the_windows_are_asked_only_for_a_new_rung(made: Made) -> None:
    """What has been told costs one look into a dictionary."""
    notifier, looks = made(NotifySection(log=False)), []
    for _ in range(5):
        notifier.tell(LABEL, None, NOW, lambda: looks.append(1) or [figures()])
    assert len(looks) == 1


async def test_a_failing_webhook_is_tried_again(
    made: Made, counted: Counter[tuple[str, str]]
) -> None:
    """Two errors and then success is one message sent; the others of the queue follow."""
    async with Hook(500, 503) as hook:
        notifier = made(NotifySection(webhook=hook.url, log=False))
        await told(notifier, lambda: notifier.tell(LABEL, None, NOW, lambda: [figures()]))
        assert len(hook.bodies) == 3
    assert counted == {("webhook", "sent"): 1}


async def test_a_redirect_is_not_followed(made: Made, counted: Counter[tuple[str, str]]) -> None:
    """Where messages go stands in the configuration; an answer cannot change it."""
    async with Hook(*[302] * 10) as hook:
        notifier = made(NotifySection(webhook=hook.url, log=False))
        await told(notifier, lambda: notifier.tell(LABEL, None, NOW, lambda: [figures()]))
        assert set(hook.paths) == {b"/hook"}
    assert counted == {("webhook", "failed"): 1}


async def test_a_dead_channel_does_not_stop_the_others(
    made: Made, counted: Counter[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the message though webhook and mail server are gone; no address is logged."""
    smtp = SmtpSection.model_validate(
        {"host": "127.0.0.1", "port": 9, "security": "none", "from": "w@x.example", "to": ["a@b"]}
    )
    section = NotifySection(webhook="http://127.0.0.1:9/secret-path", smtp=smtp)
    notifier = made(section)
    with caplog.at_level(logging.WARNING):
        await told(notifier, lambda: notifier.tell(LABEL, None, NOW, lambda: [figures()]))
    assert counted == {("log", "sent"): 1, ("webhook", "failed"): 1, ("smtp", "failed"): 1}
    assert "secret-path" not in caplog.text
    assert "t/day" in caplog.text


class Mailbox:
    """Enough of SMTP to take one message a connection; ``refuse`` the first so many."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse, self.mails, self.port = refuse, [], 0

    async def __aenter__(self) -> Mailbox:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> Awaitable[None] | None:
            writer.write(line.encode() + b"\r\n")
            await writer.drain()
            return None

        if self.refuse:
            self.refuse -= 1
            await say("421 later")
            writer.close()
            return
        await say("220 mailbox")
        while line := (await reader.readline()).decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                await say("354 go on")
                self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
                await say("250 taken")
            elif verb == "QUIT":
                await say("221 bye")
                break
            else:
                await say("250 fine")
        writer.close()


async def test_e_mail_goes_out_over_smtp(made: Made, counted: Counter[tuple[str, str]]) -> None:
    """From, to, subject and the sentence arrive; a server that is busy is tried again."""
    async with Mailbox(refuse=1) as box:
        smtp = {
            "host": "127.0.0.1", "port": box.port, "security": "none",
            "from": "weir@acme.example", "to": ["ana@acme.example", "bo@acme.example"],
        }  # fmt: skip
        section = NotifySection.model_validate({"smtp": smtp, "log": False})
        notifier = made(section)
        await told(notifier, lambda: notifier.tell(LABEL, None, NOW, lambda: [figures()]))
    assert len(box.mails) == 1
    mail = box.mails[0]
    assert "Subject: Budget t/day: 80%" in mail
    assert "To: ana@acme.example, bo@acme.example" in mail
    assert "has reached 80%" in mail
    assert counted["smtp", "sent"] == 1


async def test_a_full_queue_drops_and_says_so(
    made: Made, counted: Counter[tuple[str, str]]
) -> None:
    """Memory is bounded: what does not fit is counted, and told again at the next request."""
    notifier = made(NotifySection(log=False))
    for n in range(QUEUE + 3):
        notifier.tell(LABEL, f"user-{n}", NOW, lambda n=n: [figures(user=f"user-{n}")])
    assert counted == {("queue", "dropped"): 3}


def test_a_rolling_window_is_told_of_once_in_its_length() -> None:
    """Its end is always now; it gets a name for each stretch of its own length."""
    hour = 3_600_000
    rolling = [figures(at - hour, hour + 1) for at in (NOW, NOW + 1000, NOW + 2 * hour)]
    names = [_window(f, "80%", f.window.end_ms - 1)[0] for f in rolling]
    assert names[0] == names[1] != names[2]


def test_a_message_names_the_user_of_a_budget_per_user() -> None:
    """Who it is about is in the sentence and in the fields."""
    notice = Notice("n", "80%", figures(user="ana"), NOW)
    assert "(user ana)" in notice.text
    assert notice.fields()["user"] == "ana"
