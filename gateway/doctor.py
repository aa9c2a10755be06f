"""`weir doctor`: what would keep the gateway from serving well, found before a client finds it.

Each check says what it looked at, whether it is fine, and what to do if not. It asks each
upstream for its list of models and for nothing else: no prompt is sent, nothing is billed.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from billing.errors import PriceMissing
from billing.schema import database_path, driver_url, hidden, is_postgresql
from gateway.settings import Settings, UpstreamSpec
from gateway.snapshot import Snapshot, build_snapshot
from gateway.upstream.address import credentials, defaults, root

SKEW_S = 5.0
TIMEOUT_S = 8.0
_FREE_BYTES = 256 << 20
_FILES_A_REQUEST = 2  # the client's socket and the provider's


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: ``level`` is ok, warn or fail; ``fix`` is what to do unless it is ok."""

    check: str
    level: str
    said: str
    fix: str = ""


def examine(settings: Settings, client: httpx.Client | None = None) -> Iterator[Finding]:
    """Every finding, as it is made. Reads files and sockets; changes nothing that lasts."""
    yield Finding("configuration", "ok", f"{settings.source} is valid ({settings.hash[:19]})")
    yield from _keys(settings)
    snapshot = build_snapshot(settings)
    yield from _models(snapshot)
    yield _database(settings.database)
    yield _journal(Path(settings.journal))
    yield from _files(snapshot)
    yield _limit(settings)
    with client or httpx.Client(timeout=TIMEOUT_S, follow_redirects=False) as asked:
        for spec in settings.upstreams.values():
            yield from _upstream(spec, asked)


def _keys(settings: Settings) -> Iterator[Finding]:
    count = len(settings.accounts.keys)
    if count:
        yield Finding("keys", "ok", f"{count} virtual keys")
    else:
        yield Finding("keys", "warn", "no virtual key", "make one: weir keys new NAME")


def _models(snapshot: Snapshot) -> Iterator[Finding]:
    """Each declared model has a price, and a card that says more than a guess."""
    now = time.time_ns() // 1_000_000
    unpriced, unknown = [], []
    for name in snapshot.settings.models:
        try:
            if snapshot.price(name, now, None).unpriced:
                unpriced.append(name)
        except PriceMissing:
            unpriced.append(name)
        if not snapshot.cards[name].window_known:
            unknown.append(name)
    if unpriced:
        fix = "declare `price:` for them, or `free: true`; until then they are refused with 402"
        yield Finding("prices", "fail", f"no price for {', '.join(unpriced)}", fix)
    else:
        yield Finding("prices", "ok", f"{len(snapshot.cards)} models are priced")
    if unknown:
        fix = "declare `context_window:` for them, or measure with weir probe MODEL"
        yield Finding("windows", "warn", f"nobody knows the window of {', '.join(unknown)}", fix)


def _database(url: str) -> Finding:
    if is_postgresql(url):
        return _postgresql(url)
    path = database_path(url)
    return _place(path) or _sqlite(path)


def _place(path: Path) -> Finding | None:
    """What is wrong with the folder of a SQLite file, or None."""
    if not path.parent.is_dir():
        return Finding("database", "fail", f"{path.parent} does not exist", "make that folder")
    if not os.access(path.parent, os.W_OK):
        return Finding("database", "fail", f"{path.parent} cannot be written", "grant that right")
    room = os.statvfs(path.parent)
    free = room.f_bavail * room.f_frsize
    if free < _FREE_BYTES:
        said = f"{free >> 20} MiB are free beside {path.name}"
        return Finding("database", "warn", said, "make room, or move the ledger")
    return None


def _sqlite(path: Path) -> Finding:
    if not path.exists():
        return Finding("database", "ok", f"{path} will be made at the first start")
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as connection:
            (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return Finding("database", "fail", f"{path}: {error}", "restore it from a backup")
    if state != "ok":
        return Finding("database", "fail", f"{path} is damaged", "restore it from a backup")
    return Finding("database", "ok", str(path))


def _postgresql(url: str) -> Finding:
    import psycopg

    try:
        with psycopg.connect(driver_url(url), connect_timeout=5) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        said = f"{hidden(url)} does not answer ({type(error).__name__})"
        return Finding("database", "fail", said, "start it, or correct `database:`")
    return Finding("database", "ok", hidden(url))


def _journal(folder: Path) -> Finding:
    """The journal takes a durable write, and how long one takes."""
    near = folder if folder.is_dir() else folder.parent
    try:
        with tempfile.TemporaryFile(dir=near) as file:
            file.write(b"x" * 512)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            took = (time.perf_counter() - began) * 1000
    except OSError as error:
        return Finding("journal", "fail", f"{near}: {error.strerror}", "grant the right to write")
    return Finding("journal", "ok", f"{folder}: a durable write takes {took:.1f} ms")


def _files(snapshot: Snapshot) -> Iterator[Finding]:
    """The models that are packaged, or named by the configuration, can be loaded."""
    from compressor.embedder import load_embedder, packaged_model
    from compressor.errors import ModelFilesMissing

    for name in snapshot.cards:
        snapshot.gauge(name).counter.count("ready")
    yield Finding("tokenizers", "ok", f"of {len(snapshot.cards)} models")
    wanted = snapshot.settings.fit.embedder
    if wanted == "none":
        return
    if not isinstance(wanted, str):
        yield _embedder(snapshot.settings)
        return
    try:
        if wanted in {"auto", "packaged"}:
            where = str(packaged_model())
        else:
            load_embedder(wanted)
            where = wanted
    except (ModelFilesMissing, ImportError) as error:
        fix = "install the package again, or set `fit.embedder: none`"
        yield Finding("model files", "fail", str(error), fix)
    else:
        yield Finding("model files", "ok", where)


def _embedder(settings: Settings) -> Finding:
    """The server of sentence vectors answers, and in what time."""
    from compressor.errors import EmbedderAway
    from gateway.kits import remote_embedder

    server = remote_embedder(settings)
    if server is None:
        return Finding("embedder", "ok", "none")
    began = time.perf_counter()
    try:
        width = server.embed(["ready"]).shape[1]
    except EmbedderAway as error:
        fix = "start it, or correct `fit.embedder`; until then ranking is lexical"
        return Finding("embedder", "warn", str(error), fix)
    finally:
        server.close()
    took = (time.perf_counter() - began) * 1000
    return Finding("embedder", "ok", f"{server.name}: {width} dimensions in {took:.0f} ms")


def _limit(settings: Settings) -> Finding:
    """As many files may be open as `server.max_concurrent` needs."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.server.max_concurrent * _FILES_A_REQUEST + 256
    if allowed < needed:
        said = (
            f"{allowed} files may be open, {settings.server.max_concurrent} requests need {needed}"
        )
        return Finding("open files", "warn", said, f"ulimit -n {needed}, or lower max_concurrent")
    return Finding("open files", "ok", f"{allowed} may be open, {needed} are needed")


def _upstream(spec: UpstreamSpec, client: httpx.Client) -> Iterator[Finding]:
    if spec.kind == "litellm":
        yield Finding(f"upstream {spec.name}", "ok", "litellm's own; not asked")
        return
    places = [
        replace(spec, base_url=e.base_url or spec.base_url, api_key=e.api_key or spec.api_key)
        for e in spec.endpoints
    ]
    for place in places or [spec]:
        yield from _endpoint(place, client)


def _endpoint(spec: UpstreamSpec, client: httpx.Client) -> Iterator[Finding]:
    base = root(spec.kind, spec.base_url or "")
    url = f"{base}/v1/models" if spec.kind == "anthropic" else f"{base}/models"
    check = f"upstream {spec.name}"
    headers: Mapping[str, str] = {**credentials(spec.kind, spec.api_key), **defaults(spec.kind)}
    try:
        answer = client.get(url, headers=headers)
    except httpx.HTTPError as error:
        fix = f"check upstreams.{spec.name}.base_url, the network and its proxy"
        yield Finding(check, "fail", f"{base} cannot be reached ({type(error).__name__})", fix)
        return
    yield _answered(check, spec, base, answer.status_code)
    skew = _skew(answer.headers.get("date"), lambda: datetime.now(UTC))  # noqa: TID251 - a clock is what is checked
    if skew is not None and abs(skew) > SKEW_S:
        said = f"this machine's clock is {skew:+.0f} s off the clock of {spec.name}"
        yield Finding("clock", "warn", said, "synchronise it (NTP); budgets go by it")
    elif skew is not None:
        yield Finding("clock", "ok", f"within {SKEW_S:g} s of {spec.name}'s")


def _answered(check: str, spec: UpstreamSpec, base: str, status: int) -> Finding:
    if status in {401, 403}:
        said = f"{base} refuses the credential ({status})"
        return Finding(check, "fail", said, f"correct upstreams.{spec.name}.api_key")
    if 300 <= status < 400:
        fix = f"set upstreams.{spec.name}.base_url to the final address"
        return Finding(check, "fail", f"{base} redirects, which is never followed", fix)
    if status >= 500:
        return Finding(check, "warn", f"{base} answers {status}", "see the provider's status page")
    return Finding(check, "ok", f"{base} answers")


def _skew(told: str | None, now: Callable[[], datetime]) -> float | None:
    """Seconds that our clock is ahead of a Date header."""
    if not told:
        return None
    try:
        theirs = parsedate_to_datetime(told)
    except ValueError:
        return None
    return (now() - theirs).total_seconds()
