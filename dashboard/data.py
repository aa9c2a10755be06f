"""What the views ask of the ledger: cached calls to billing, keyed by filters and watermark.

The watermark grows with every receipt, so nothing is asked twice. It is read again when it is
ten seconds old: under a busy gateway a page is drawn from one state of the ledger, and the next
click does not ask everything anew. A figure here is exactly a figure of ``billing.reports``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import streamlit as st

from billing import browse, chargeback, originals, reports, savings_report, signals, versions
from billing.access import EVERYBODY, Viewer
from billing.accounts import Accounts, BillingSection, build_accounts
from billing.bodies import Kept
from billing.booking import Question, reconcile
from billing.browse import Entry
from billing.budget import WindowFigures
from billing.chargeback import Charged, Reconciled
from billing.closing import Closing
from billing.errors import LedgerUnavailable
from billing.receipt import Receipt
from billing.reconcile import Delta
from billing.reports import Row, Scope, Top
from billing.savings import CLEAN_DELTA
from billing.savings_report import Report
from billing.signals import Signals
from billing.versions import History

LISTED = 1000
DEAREST = 200
FRESH_S = 10
"""For so long a watermark is taken as it is."""
_MANY = 128


class DatabaseMissing(Exception):
    """There is no ledger to read; the message says where it was looked for."""


@dataclass(frozen=True, slots=True)
class Source:
    """One ledger as far as ``mark`` posted receipts; ``accounts`` None without a policy.

    Every question is asked for ``viewer``: NotAllowed where the answer is not theirs.
    """

    url: str
    mark: int
    zone: ZoneInfo
    accounts: Accounts | None = None
    policy_problem: str | None = None
    viewer: Viewer = EVERYBODY
    unreadable: bool = False
    """Whether there is a policy that cannot be read: it might name who may look."""

    @property
    def empty(self) -> bool:
        """Whether no request has been billed yet."""
        return self.mark == 0

    def overall(self, scope: Scope) -> Row:
        """Everything in scope as one row."""
        return _overall(self.url, self.mark, self.viewer.scope(scope))

    def grouped(self, by: str, scope: Scope) -> list[Row]:
        """A row a group, the dearest first."""
        return _grouped(self.url, self.mark, by, self.viewer.scope(scope))

    def sessions(self, scope: Scope) -> Top:
        """The dearest sessions, and all others as one row."""
        self.viewer.need("requests")
        return _sessions(self.url, self.mark, self.viewer.scope(scope))

    def daily(self, scope: Scope) -> list[tuple[date, Row]]:
        """A row a local day that has any request."""
        return _daily(self.url, self.mark, self.zone.key, self.viewer.scope(scope))

    def savings(self, scope: Scope) -> Report:
        """What routing saved, how sure that is, and through what."""
        delta = CLEAN_DELTA
        if self.accounts is not None:
            delta = float(self.accounts.config.savings.delta)
        return _savings(self.url, self.mark, self.viewer.scope(scope), delta)

    def signals(self, scope: Scope) -> list[Signals]:
        """Re-asked and escalated by arm, of the newest requests."""
        return _signals(self.url, self.mark, self.viewer.scope(scope))

    def labels(self, by: str) -> list[str]:
        """Every name of a group, as far as it is the viewer's to know."""
        teams = self.viewer.teams
        if teams is None:
            return _labels(self.url, self.mark, by)
        if by == "team":
            return list(teams)
        rows = (row for team in teams for row in self.grouped(by, Scope(team=team)))
        return sorted({row.label for row in rows if row.label})

    def listing(self, scope: Scope, text: str) -> list[Entry]:
        """The newest requests, at most ``LISTED``."""
        self.viewer.need("requests")
        return _listing(self.url, self.mark, self.viewer.scope(scope), text)

    def receipt(self, request_id: str) -> Receipt | None:
        """One receipt, or None. Receipts never change, but one may still come."""
        self.viewer.need("requests")
        found = browse.receipt(self.url, request_id)
        # Another team's receipt is as good as none: that it exists is not told either.
        return found if found is not None and self.viewer.sees(found.team) else None

    def original(self, receipt: Receipt) -> Kept | None:
        """The bodies of a request, where the policy kept them and they are not over yet."""
        self.viewer.need("requests")
        if not self.viewer.sees(receipt.team):
            return None
        now_ms = reports.epoch_ms(clock())
        return originals.find(self.url, receipt.request_id, receipt.team, now_ms)

    def versions(self) -> History:
        """Which policy, prices and catalog stand on the receipts."""
        self.viewer.need("prices")
        return _versions(self.url, self.mark)

    def months(self) -> list[str]:
        """Every month with receipts, the newest first."""
        self.viewer.need("chargeback")
        return _months(self.url, self.mark)

    def charged(self, month: str, by: str) -> list[Charged]:
        """A month by cost centre, corrections included."""
        self.viewer.need("chargeback")
        return chargeback.charged(self.url, month, by)

    def closing_of(self, month: str) -> Closing | None:
        """What froze a month, or None. Closings and corrections come without a receipt, so
        they are asked for each time."""
        self.viewer.need("chargeback")
        return chargeback.closing_of(self.url, month)

    def reconciliations(self) -> list[Reconciled]:
        """What was booked against the providers' word, the newest first."""
        self.viewer.need("reconcile")
        return chargeback.reconciliations(self.url)

    def compare(self, question: Question) -> list[Delta]:
        """A provider's export against the ledger; nothing is written."""
        self.viewer.need("reconcile")
        return reconcile(self.url, question)

    def latest(self) -> datetime | None:
        """When the newest receipt was posted."""
        return _latest(self.url, self.mark)

    def windows(self, now: datetime) -> list[WindowFigures]:
        """Budget windows as they stand; empty where the policy is not known or has none."""
        if self.accounts is None:
            return []
        found = _windows(self.url, self.mark, id(self.accounts), self.accounts, now)
        return [one for one in found if self.viewer.sees_node(one.node)]


def clock() -> datetime:
    """Now, in UTC: the dashboard's only clock."""
    return datetime.now(UTC)  # noqa: TID251 - the shell of this package


def open_source() -> Source:
    """The ledger that the environment names.

    Raises:
        DatabaseMissing: none is named, or its file is not there.
        LedgerUnavailable: it cannot be read.
    """
    url = os.environ.get("WEIR_DATABASE", "")
    if not url:
        raise DatabaseMissing("WEIR_DATABASE is not set, so there is no ledger to read.")
    try:
        if not browse.exists(url):
            raise DatabaseMissing(f"There is no database at {url} yet.")
    except ValueError as error:
        raise LedgerUnavailable(str(error)) from None
    config = os.environ.get("WEIR_CONFIG")
    accounts, problem = policy(config)
    zone = accounts.zone if accounts else ZoneInfo("UTC")
    unreadable = accounts is None and bool(config)
    return Source(url, _mark(url), zone, accounts, problem, unreadable=unreadable)


def policy(path: str | None) -> tuple[Accounts | None, str | None]:
    """Accounts and budgets of a weir.yaml, or None and why they are not known."""
    if not path:
        return None, "The dashboard was started without a weir.yaml."
    try:
        found = Path(path).stat()
    except OSError:
        return None, _unreadable(path)
    return _policy(path, found.st_mtime_ns, found.st_size)


def _unreadable(path: str) -> str:
    return f"{path} cannot be read as a policy; `weir policy lint` says what is wrong."


# Reading YAML takes longer than asking the ledger: a file that did not change is read once.
@st.cache_resource(show_spinner=False, max_entries=4)
def _policy(path: str, changed_ns: int, size: int) -> tuple[Accounts | None, str | None]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe", pure=True).load(Path(path).read_text(encoding="utf-8"))
        if not isinstance(tree, dict):
            raise TypeError("not a mapping")
        ours = {name: tree[name] for name in BillingSection.model_fields if name in tree}
        return build_accounts(BillingSection.model_validate(ours)), None
    except (OSError, ValueError, TypeError, YAMLError):
        return None, _unreadable(path)


# A new database at the same address is another ledger: its file says so.
def _mark(url: str) -> int:
    # An empty ledger is asked each time: whoever waits for the first request sees it come.
    return _mark_of(url, browse.identity(url)) or browse.watermark(url)


@st.cache_data(show_spinner=False, max_entries=_MANY, ttl=FRESH_S)
def _mark_of(url: str, identity: str) -> int:
    return browse.watermark(url)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _overall(url: str, mark: int, scope: Scope) -> Row:
    return reports.overall(url, scope)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _grouped(url: str, mark: int, by: str, scope: Scope) -> list[Row]:
    return reports.grouped(url, by, scope)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _signals(url: str, mark: int, scope: Scope) -> list[Signals]:
    return signals.signals(url, scope)


# As fresh as the watermark; the tree is known by which object it is, since it is read once.
@st.cache_data(show_spinner=False, max_entries=_MANY, ttl=FRESH_S)
def _windows(
    url: str, mark: int, known: int, _accounts: Accounts, _now: datetime
) -> list[WindowFigures]:
    return browse.windows(url, _accounts, _now)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _versions(url: str, mark: int) -> History:
    return versions.history(url)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _sessions(url: str, mark: int, scope: Scope) -> Top:
    return reports.dearest(url, "session", scope, DEAREST)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _daily(url: str, mark: int, zone: str, scope: Scope) -> list[tuple[date, Row]]:
    return reports.daily(url, ZoneInfo(zone), scope)


# Outcomes come without a receipt, so the watermark alone would keep an old success rate.
@st.cache_data(show_spinner=False, max_entries=_MANY, ttl=60)
def _savings(url: str, mark: int, scope: Scope, delta: float) -> Report:
    return savings_report.report(url, scope, delta)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _labels(url: str, mark: int, by: str) -> list[str]:
    return browse.labels(url, by)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _listing(url: str, mark: int, scope: Scope, text: str) -> list[Entry]:
    return browse.listing(url, scope, text, LISTED)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _latest(url: str, mark: int) -> datetime | None:
    return reports.latest(url)


@st.cache_data(show_spinner=False, max_entries=_MANY)
def _months(url: str, mark: int) -> list[str]:
    return chargeback.months(url)
