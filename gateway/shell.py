"""Shell: what a request needs of the process, the parts that do I/O or remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from billing.bodies import Bodies
from billing.desk import Desk
from billing.grants import Grant
from billing.ledger import Ledger
from billing.shadow_cache import ShadowCache
from billing.untouched import Norms
from compressor.kit import Kit
from gateway.admission import Admission
from gateway.ahead import Ahead
from gateway.answers_store import Answers
from gateway.batches import Batches
from gateway.behind import Behind
from gateway.idempotency import Replies
from gateway.notify import Notifier
from gateway.rate_limits import RateLimits
from gateway.recall import Recall
from gateway.recall_feed import Feed
from gateway.snapshot import Snapshot
from gateway.telemetry import Telemetry
from gateway.upstream.protocol import Upstream
from gateway.upstream.retry import RetryBudget
from gateway.workers import Workers
from gateway.workers_metrics import Peers


@dataclass(slots=True)
class Shell:
    """One a process. ``snapshot`` is swapped whole on reload; the rest lives on.

    ``kit_for(snapshot, team, model)`` gives what a fit may use; ``clock`` UTC epoch ms.
    """

    snapshot: Snapshot
    ledger: Ledger
    upstreams: Mapping[str, Upstream]
    workers: Workers
    admission: Admission
    telemetry: Telemetry
    kit_for: Callable[[Snapshot, str, str], Kit]
    clock: Callable[[], int]
    desk: Desk
    notifier: Notifier
    replies: Replies
    bodies: Bodies
    batches: Batches
    answers: Answers
    shadow: ShadowCache = field(default_factory=ShadowCache)
    grants: tuple[Grant, ...] = ()
    peers: Peers | None = None
    rates: RateLimits = field(default_factory=RateLimits)
    retries: RetryBudget = field(default_factory=RetryBudget)
    recall: Recall = field(default_factory=Recall)
    feed: Feed | None = None
    norms: Norms = field(default_factory=Norms)
    ahead: Ahead = field(default_factory=Ahead)
    behind: Behind = field(default_factory=Behind)
    ready: bool = False
    stale_config: str | None = None
