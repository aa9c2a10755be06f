"""Messages about budgets, off the hot path: webhook, log, e-mail; once a window and rung.

A request only puts a message into a bounded queue. A task takes it out, claims it in the
ledger's database, so that of several processes one sends it and a restart sends nothing
twice, and sends it to every channel of `notify:`, each tried again a few times. Where to
send stands in the configuration alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from billing.budget import WindowFigures
from billing.desk import Desk
from billing.errors import LedgerUnavailable
from billing.money import usd

log = logging.getLogger("weir.notify")

QUEUE = 1_000
ATTEMPTS = 5
TIMEOUT_S = 10.0
_KNOWN = 10_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SmtpSection(_Strict):
    """``notify.smtp``: where e-mail goes out, from whom, to whom."""

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: str | None = None
    sender: str = Field(alias="from")
    to: tuple[str, ...] = Field(min_length=1)


class NotifySection(_Strict):
    """``notify``: the channels of `notify` rungs; all that are named are used."""

    webhook: str | None = Field(default=None, pattern=r"^https?://[^/\s]+")
    smtp: SmtpSection | None = None
    log: bool = True

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be told: a webhook's address often is its own credential."""
        password = self.smtp.password if self.smtp is not None else None
        return tuple(secret for secret in (self.webhook, password) if secret)


@dataclass(frozen=True, slots=True)
class Notice:
    """One rung reached in one window; ``name`` is the same for all who see it."""

    name: str
    rung: str
    figures: WindowFigures
    at_ms: int

    @property
    def text(self) -> str:
        """One sentence for a person."""
        figures = self.figures
        who = f" (user {figures.user})" if figures.user else ""
        return (
            f"Budget {figures.budget}{who} has reached {self.rung}: {usd(figures.spent_nano)} USD "
            f"spent and {usd(figures.held_nano)} USD held of {usd(figures.limit_nano)} USD; it "
            f"resets at {figures.resets_at}."
        )

    def fields(self) -> dict[str, object]:
        """The same for a machine; ``text`` is what chat webhooks show."""
        figures = self.figures
        return {
            "text": self.text,
            "event": "budget_rung",
            "id": self.name,
            "budget": figures.budget,
            "user": figures.user,
            "rung": self.rung,
            "spent_usd": usd(figures.spent_nano),
            "held_usd": usd(figures.held_nano),
            "limit_usd": usd(figures.limit_nano),
            "resets_at": figures.resets_at,
            "at_ms": self.at_ms,
        }


Sender = Callable[[Notice], Awaitable[None]]
Look = Callable[[], list[WindowFigures]]
Count = Callable[[str, str], None]


class Notifier:
    """The queue and its one worker. ``section`` gives the channels now in force.

    ``count(channel, outcome)`` is told of every message: sent, failed, dropped.
    ``pause_s`` is the first wait between attempts.
    """

    def __init__(
        self, desk: Desk, section: Callable[[], NotifySection], count: Count, pause_s: float = 1.0
    ) -> None:
        self._desk, self._section, self._count = desk, section, count
        self._pause_s = pause_s
        self._queue: asyncio.Queue[Notice] = asyncio.Queue(QUEUE)
        self._until: dict[tuple[str, str | None], int] = {}
        self._task: asyncio.Task[None] | None = None

    def tell(self, labels: tuple[str, ...], user: str | None, at_ms: int, look: Look) -> None:
        """Rungs that hold now; those not told of in their window are queued.

        Args:
            labels: ``<budget> <rung>``, as a brake lists them.
            look: the windows as they stand; asked only where there is something to tell.
        """
        fresh = [label for label in labels if self._until.get((label, user), 0) <= at_ms]
        if not fresh:
            return
        windows = {figures.budget: figures for figures in look()}
        for label in fresh:
            budget, _, rung = label.partition(" ")
            figures = windows.get(budget)
            if figures is None:
                continue
            name, until = _window(figures, rung, at_ms)
            if len(self._until) >= _KNOWN:
                self._until.clear()  # the database still knows what was sent
            self._until[label, user] = until
            try:
                self._queue.put_nowait(Notice(name, rung, figures, at_ms))
            except asyncio.QueueFull:
                del self._until[label, user]
                self._count("queue", "dropped")

    def start(self) -> None:
        """The worker runs."""
        self._task = asyncio.create_task(self._run())

    async def stop(self, patience_s: float = 2.0) -> None:
        """What is queued gets ``patience_s`` to go out; then the worker is gone."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), patience_s)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def _run(self) -> None:
        while True:
            notice = await self._queue.get()
            try:
                if await asyncio.to_thread(self._claim, notice):
                    await self._send(notice)
            except Exception as error:  # noqa: BLE001 - one bad message must not end the worker
                log.error("a message about %s was lost: %s", notice.name, type(error).__name__)
            finally:
                self._queue.task_done()

    def _claim(self, notice: Notice) -> bool:
        """Whether this process is the one to send it; without a database, it is."""
        try:
            return bool(
                self._desk.change(
                    "INSERT INTO notices (name, at_ms) VALUES (?, ?) ON CONFLICT DO NOTHING",
                    notice.name,
                    notice.at_ms,
                )
            )
        except LedgerUnavailable:
            return True

    async def _send(self, notice: Notice) -> None:
        from tenacity import AsyncRetrying, stop_after_attempt, wait_exponential_jitter

        for channel, send in channels(self._section()).items():
            try:
                async for attempt in AsyncRetrying(
                    stop=stop_after_attempt(ATTEMPTS),
                    wait=wait_exponential_jitter(
                        multiplier=self._pause_s, max=60, jitter=self._pause_s
                    ),
                    reraise=True,
                ):
                    with attempt:
                        await send(notice)
            except Exception as error:  # noqa: BLE001 - whatever a channel raises, the next is tried
                self._count(channel, "failed")
                log.error("%s for %s failed: %s", channel, notice.name, type(error).__name__)
            else:
                self._count(channel, "sent")


def _window(figures: WindowFigures, rung: str, at_ms: int) -> tuple[str, int]:
    """The name of a rung in its window, and until when it has been told.

    A rolling window ends now, always; it is told of once in its own length.
    """
    window = figures.window
    length = max(window.end_ms - window.start_ms, 1)
    start, end = window.start_ms, window.end_ms
    if end <= at_ms + 1:
        start = at_ms // length * length
        end = start + length
    return f"{figures.budget}|{figures.user or ''}|{rung}|{start}", end


def channels(section: NotifySection) -> dict[str, Sender]:
    """How each channel in force is sent to, by name."""
    found: dict[str, Sender] = {}
    if section.log:
        found["log"] = _to_log
    if section.webhook is not None:
        url = section.webhook

        async def post(notice: Notice) -> None:
            await _to_webhook(url, notice)

        found["webhook"] = post
    if section.smtp is not None:
        smtp = section.smtp

        async def mail(notice: Notice) -> None:
            await asyncio.to_thread(_to_mail, smtp, notice)

        found["smtp"] = mail
    return found


async def _to_log(notice: Notice) -> None:
    log.warning("%s", orjson.dumps(notice.fields()).decode())


async def _to_webhook(url: str, notice: Notice) -> None:
    """One POST; a redirect or any answer but 2xx is a failure."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    headers = {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(
            url, data=orjson.dumps(notice.fields()), headers=headers, allow_redirects=False
        ) as answer,
    ):
        if not 200 <= answer.status < 300:
            raise ConnectionError(f"the webhook answered {answer.status}")


def _to_mail(smtp: SmtpSection, notice: Notice) -> None:
    """One e-mail over SMTP. Raises OSError, smtplib.SMTPException."""
    message = EmailMessage()
    message["Subject"] = f"Budget {notice.figures.budget}: {notice.rung}"
    message["From"] = smtp.sender
    message["To"] = ", ".join(smtp.to)
    message.set_content(notice.text + "\n")
    context = ssl.create_default_context() if smtp.security != "none" else None
    if smtp.security == "tls":
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            smtp.host, smtp.port, timeout=TIMEOUT_S, context=context
        )
    else:
        client = smtplib.SMTP(smtp.host, smtp.port, timeout=TIMEOUT_S)
    with client:
        if smtp.security == "starttls":
            client.starttls(context=context)
        if smtp.username is not None:
            client.login(smtp.username, smtp.password or "")
        client.send_message(message)
