"""`fit:` refers to servers that are declared, can be asked, and cost nothing unseen."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from embedding_server import Embeddings, embedding_server
from ruamel.yaml import YAML

from compressor.embedder_remote import RemoteEmbedder
from compressor.kit import Kit
from gateway.doctor import examine
from gateway.errors import ConfigError
from gateway.kits import Kits
from gateway.settings import Settings, parse
from gateway.snapshot import build_snapshot

ROOT = Path(__file__).parents[3]
CONFIG = """
version: 1
upstreams:
  gpu: {{ kind: openai, base_url: "{url}", api_key: none }}
  far: {{ kind: anthropic, api_key: k }}
models:
  bge-small: {{ upstream: gpu, free: true, context_window: 512 }}
  priced: {{ upstream: gpu, price: {{ input: 0.02, output: 0 }} }}
  gpt-4o-mini: {{ upstream: gpu, price: {{ input: 0.15, output: 0.6 }} }}
fit: {{ embedder: {{ {embedder} }} }}
"""
FINE = "backend: openai, upstream: gpu, model: bge-small"


def loaded(embedder: str, url: str = "http://127.0.0.1:9/v1") -> Settings:
    return parse(CONFIG.format(embedder=embedder, url=url), "weir.yaml", {})


@pytest.mark.parametrize(
    ("embedder", "said"),
    [
        ("backend: openai, upstream: gpu", "needs a model"),
        ("backend: openai, upstream: gpo, model: bge-small", "gpu"),
        ("backend: openai, upstream: far, model: bge-small", "OpenAI's wire"),
        ("backend: openai, upstream: gpu, model: priced", "free: true"),
        ("backend: tei, upstream: gpu", "model: tei"),
        ("backend: grpc, upstream: gpu", "tei"),
    ],
    ids=["model", "unknown", "wire", "priced", "undeclared", "backend"],
)
def test_an_embedder_that_cannot_be_asked_is_found_at_load(embedder: str, said: str) -> None:
    """With the remedy; one that would have to be billed is not asked at all."""
    with pytest.raises(ConfigError, match="embedder") as refused:
        loaded(embedder)
    assert said in str(refused.value)


def kit_of(settings: Settings, model: str = "gpt-4o-mini") -> Kit:
    return Kits(settings).kit_for(build_snapshot(settings), "team", model)


def test_a_server_ranks_and_no_memory_hangs_on_it() -> None:
    """It is the kit's ranker, never its embedder."""
    with embedding_server() as server:
        kit = kit_of(loaded(FINE, server.url + "/v1"))
        assert kit.embedder is None
        assert isinstance(kit.ranker, RemoteEmbedder)
        assert kit.ranker.embed(["ready"]).shape == (1, 64)
        kit.ranker.close()


@pytest.mark.parametrize("status", [200, 503])
def test_doctor_asks_the_server(status: int, tmp_path: Path) -> None:
    """It says how many dimensions and how fast, or warns that ranking is lexical until then."""
    with embedding_server(Embeddings(status=status)) as server:
        text = CONFIG.format(embedder=FINE, url=server.url + "/v1")
        settings = parse(text + f"database: sqlite:///{tmp_path}/a.db\n", "weir.yaml", {})
        finding = next(one for one in examine(settings) if one.check == "embedder")
    if status == 200:
        assert finding.level == "ok"
        assert "64 dimensions" in finding.said
    else:
        assert finding.level == "warn"
        assert "503" in finding.said
        assert "lexical" in (finding.fix or "")


def test_the_gpu_guide_and_its_compose_file_name_the_same_servers() -> None:
    """The guide's configuration loads, and each of its hosts is a service that has health."""
    guide = (ROOT / "docs" / "guides" / "gpu.md").read_text(encoding="utf-8")
    text = guide.split("```yaml\n", 1)[1].split("```", 1)[0]
    settings = parse(text, "weir.yaml", {"OPENAI_API_KEY": "k"})
    composed = YAML(typ="safe").load(
        (ROOT / "deploy" / "compose.gpu.yaml").read_text(encoding="utf-8")
    )
    hosts = {
        urlsplit(spec.base_url or "").hostname: spec
        for spec in settings.upstreams.values()
        if spec.name != "openai"
    }
    servers = {name: one for name, one in composed["services"].items() if name != "gateway"}
    assert hosts.keys() == servers.keys() == composed["services"]["gateway"]["depends_on"].keys()
    assert all(one["healthcheck"] and "ports" not in one for one in servers.values())
    assert kit_of(settings, "gpt-4.1").ranker is not None
