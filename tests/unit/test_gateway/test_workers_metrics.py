"""Pages of several processes added up."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers_metrics import Peers, bury_page, merge


def page(count: int, inside: int, team: str) -> bytes:
    """A process's page."""
    registry = CollectorRegistry()
    Counter("weir_requests", "Requests", ("team",), registry=registry).labels(team).inc(count)
    Gauge("weir_inside", "Inside", registry=registry).set(inside)
    Histogram("weir_seconds", "Seconds", registry=registry, buckets=(1, 5)).observe(count)
    return generate_latest(registry)


def samples(text: str) -> dict[tuple[str, str], float]:
    """Every sample by name and labels."""
    return {
        (sample.name, ",".join(f"{k}={v}" for k, v in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_and_histograms_add_up_and_dead_gauges_do_not_count() -> None:
    """Sums by name and labels; what one page alone has is kept; the format stays valid."""
    pages = [(page(2, 3, "a"), True), (page(4, 5, "a"), True), (page(1, 7, "b"), False)]
    found = samples(merge([(text.decode(), alive) for text, alive in pages]))
    assert found["weir_requests_total", "team=a"] == 6
    assert found["weir_requests_total", "team=b"] == 1
    assert found["weir_inside", ""] == 8
    assert found["weir_seconds_count", ""] == 3
    assert found["weir_seconds_sum", ""] == 7
    assert found["weir_seconds_bucket", "le=1.0"] == 1
    assert found["weir_seconds_bucket", "le=+Inf"] == 3


def test_a_page_alone_is_itself() -> None:
    """Without siblings the same samples come out."""
    one = page(2, 3, 'quote " and space')
    assert samples(merge([(one.decode(), True)])) == samples(one.decode())


def test_siblings_pages_are_read_and_the_dead_keep_their_counters(tmp_path: Path) -> None:
    """A process adds its siblings' last pages; a buried one leaves its counters."""
    peers = Peers(tmp_path)
    peers.publish(page(100, 100, "a"))  # its own page is taken as it is now, not as published
    (tmp_path / "1.prom").write_bytes(page(4, 5, "a"))
    (tmp_path / "2.prom").write_bytes(page(1, 7, "a"))
    bury_page(tmp_path, 2)
    bury_page(tmp_path, 3)
    found = samples(peers.merged(page(2, 3, "a")).decode())
    assert found["weir_requests_total", "team=a"] == 7
    assert found["weir_inside", ""] == 8
    assert {path.name for path in tmp_path.iterdir()} == {f"{os.getpid()}.prom", "1.prom", "2.gone"}
