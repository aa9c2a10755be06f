"""What is deployed: chart, image, unit, dashboards. Linted, rendered, and held against the code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from gateway.settings import parse
from gateway.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "tokenweir"
BIN = Path(sys.executable).parent
ONE, MANY = CHART / "ci" / "one-values.yaml", CHART / "ci" / "many-values.yaml"
EXAMPLES = (ONE, MANY)
ENVIRONMENT = {
    "OPENAI_API_KEY": "k",
    "ANTHROPIC_API_KEY": "k",
    "DATABASE_URL": "postgresql://weir:p@db/weir",
    "REDIS_URL": "redis://valkey:6379/0",
}
CRDS = {"ServiceMonitor", "PrometheusRule"}


def helm(*arguments: str, tmp: Path) -> subprocess.CompletedProcess[str]:
    """One run of helm that touches nothing but ``tmp``."""
    homes = {f"HELM_{name}_HOME": str(tmp / name) for name in ("CACHE", "CONFIG", "DATA")}
    return subprocess.run(
        [str(BIN / "helm"), *arguments],
        env=homes, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def rendered(tmp: Path, *arguments: str) -> list[dict[str, Any]]:
    """The manifests of the chart under some values."""
    done = helm("template", "llm", str(CHART), "--namespace", "ai", *arguments, tmp=tmp)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those of one kind."""
    return [found for found in manifests if found["kind"] == kind]


def containers(manifests: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container with the pod that it runs in."""
    for workload in of_kind(manifests, "StatefulSet") + of_kind(manifests, "Deployment"):
        pod = workload["spec"]["template"]["spec"]
        for container in pod["containers"]:
            yield pod, container


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_the_chart_lints_and_its_manifests_are_valid(values: Path, tmp_path: Path) -> None:
    """Both examples pass helm's strict lint, and Kubernetes would take what they render."""
    linted = helm("lint", "--strict", str(CHART), "--values", str(values), tmp=tmp_path)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    manifests = rendered(tmp_path, "--values", str(values))
    assert len(manifests) > 5
    for manifest in manifests:
        if manifest["kind"] not in CRDS:
            kubernetes_validate.validate(manifest, "1.30", strict=True)


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_the_configuration_of_the_chart_is_one_that_the_gateway_takes(
    values: Path, tmp_path: Path
) -> None:
    """The weir.yaml that pods mount loads as it stands."""
    manifests = rendered(tmp_path, "--values", str(values))
    (config,) = of_kind(manifests, "ConfigMap")
    settings = parse(config["data"]["weir.yaml"], "weir.yaml", ENVIRONMENT)
    (workload,) = of_kind(manifests, "StatefulSet")
    grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.server.drain_seconds


@pytest.mark.parametrize("values", EXAMPLES, ids=lambda path: path.stem)
def test_no_container_is_root_or_may_write_its_image(values: Path, tmp_path: Path) -> None:
    """Every container runs as the image's user, without capabilities, on a read-only root."""
    seen = 0
    for pod, container in containers(rendered(tmp_path, "--values", str(values))):
        seen += 1
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["readinessProbe"]
        assert container["livenessProbe"]
        assert "memory" in container["resources"]["limits"]
    assert seen == 2


def test_a_config_map_holds_no_secret(tmp_path: Path) -> None:
    """What is given as a secret stands in the Secret alone."""
    made = rendered(
        tmp_path,
        "--values", str(ONE),
        "--set", "secrets.create.OPENAI_API_KEY=sk-planted-secret",
    )  # fmt: skip
    holding = [found["kind"] for found in made if "sk-planted-secret" in json.dumps(found)]
    assert holding == ["Secret"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("replicas=2", "one ledger"),
        ("replicas=2,config.database=postgresql://db/weir", "shared budgets"),
        ("dashboard.withoutLogin=false", "the dashboard shows every bill"),
        ("config.models=null", "models"),
        ("workers=0", "workers"),
        ("nonsense=1", "nonsense"),
    ],
)
def test_values_that_would_lose_money_are_refused(change: str, said: str, tmp_path: Path) -> None:
    """What cannot be right is told before anything is installed."""
    done = helm("template", "llm", str(CHART), "--values", str(ONE), "--set", change, tmp=tmp_path)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_network_lets_nobody_reach_the_metrics_from_outside(tmp_path: Path) -> None:
    """The ingress leads to the two wires' prefixes, not to /metrics, which has no key."""
    (ingress,) = of_kind(rendered(tmp_path, "--values", str(MANY)), "Ingress")
    paths = [path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]]
    assert paths == ["/v1", "/weir"]


def families() -> set[str]:
    """The names under which Prometheus stores our metrics."""
    return {
        sample.name for metric in Telemetry().registry.collect() for sample in metric.samples
    } | {f"{m.name}_total" for m in Telemetry().registry.collect() if m.type == "counter"}


def expressions() -> list[str]:
    """Every PromQL that is shipped: alerts and panels."""
    rules = yaml.safe_load((CHART / "rules.yaml").read_text())
    alerts = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "grafana" / "tokenweir.json").read_text())
    panels = [t["expr"] for panel in board["panels"] for t in panel.get("targets", ())]
    return alerts + [expr.replace("$__range", "1d") for expr in panels]


def test_every_alert_and_panel_asks_for_a_metric_that_exists() -> None:
    """Each expression parses, and names only metrics and error codes that the gateway has."""
    from gateway.errors import TABLE

    known, codes = families(), {row.code for row in TABLE.values()}
    found = expressions()
    assert len(found) > 20
    for expression in found:
        promql_parser.parse(expression)
        named = set(re.findall(r"\bweir_[a-z_]+", expression))
        named = {name for name in named if name.removesuffix("_bucket") + "_bucket" not in known}
        assert named <= known, expression
        for value in re.findall(r'code=~?"([a-z_|]+)"', expression):
            assert set(value.split("|")) <= codes, expression


def test_every_alert_says_what_to_do() -> None:
    """An alert that only names itself wakes somebody for nothing."""
    rules = yaml.safe_load((CHART / "rules.yaml").read_text())
    for rule in rules["groups"][0]["rules"]:
        assert {"summary", "description"} <= set(rule["annotations"]), rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_panels_do_not_overlap() -> None:
    """Each panel of the Grafana board has its place, and a text where its title is not all."""
    board = json.loads((DEPLOY / "grafana" / "tokenweir.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_image_is_linted() -> None:
    """hadolint finds nothing in the Dockerfile."""
    done = subprocess.run(
        [str(BIN / "hadolint"), str(ROOT / "Dockerfile")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_the_unit_is_valid_and_tight(tmp_path: Path) -> None:
    """systemd takes the unit, and calls its exposure low."""
    text = (DEPLOY / "systemd" / "tokenweir.service").read_text()
    unit = tmp_path / "tokenweir.service"
    unit.write_text(text.replace("/opt/tokenweir/bin/weir", "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-300:]


@pytest.mark.parametrize("name", ["compose.yaml", "compose.scale.yaml"])
def test_composed_services_are_confined(name: str) -> None:
    """Our containers are read-only, without capabilities, and published on this machine alone."""
    services = yaml.safe_load((DEPLOY / name).read_text())["services"]
    ours = [service for service in services.values() if service["image"] == "tokenweir"]
    assert len(ours) == 2
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
