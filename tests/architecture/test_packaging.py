"""What is installed: five packages that are ours alone, with their data, outside the checkout."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "router", "compressor", "billing", "dashboard")


def test_the_package_names_are_ours_alone() -> None:
    """No other installed distribution ships a folder of these names."""
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners[package]) == {"tokenweir"}, package


def test_the_command_is_weir() -> None:
    """Installing the distribution gives one command, and it can be loaded."""
    scripts = importlib.metadata.distribution("tokenweir").entry_points
    (script,) = (entry for entry in scripts if entry.group == "console_scripts")
    assert script.name == "weir"
    assert callable(script.load())


def test_every_package_folder_is_declared() -> None:
    """A folder with code that pyproject.toml does not name would be missing from the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = set(project["tool"]["setuptools"]["packages"])
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert found == declared


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.db")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(source),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = out.glob("*.whl")
    return made


@pytest.mark.slow
def test_the_wheel_holds_code_data_and_licences_and_nothing_that_runs_by_itself(
    wheel: Path,
) -> None:
    """Every file of the packages is in it; no .pth, no tests, no bytecode."""
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            wanted = path.is_file() and "__pycache__" not in path.parts
            if wanted and path.suffix in {".py", ".json", ".yaml", ".sql", ".npz", ".txt", ".gz"}:
                assert path.relative_to(ROOT).as_posix() in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not [n for n in names if n.endswith((".pth", ".pyc", ".db")) or n.startswith("tests/")]


@pytest.mark.slow
def test_prices_catalog_and_weights_load_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Outside the checkout the bundled data is found and a configuration becomes a snapshot."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import sys
from datetime import datetime, UTC
import billing, router
from billing.prices import PriceBook
from gateway.settings import parse
from gateway.snapshot import build_snapshot
from gateway.starter import starter
from router.catalog import bundled_catalog
from router.complexity import bundled_complexity
assert billing.__file__.startswith(sys.argv[1]), billing.__file__
assert router.__file__.startswith(sys.argv[1]), router.__file__
price = PriceBook.bundled().price("openai", "gpt-6-luna", datetime(2026, 11, 1, tzinfo=UTC))
assert price.rates["input"].at(0) > 0
assert bundled_catalog().lookup("gpt-6-luna").window > 0
assert bundled_complexity() is not None
environ = {"OPENAI_API_KEY": "x"}
snapshot = build_snapshot(parse(starter(environ).text, "weir.yaml", environ))
assert snapshot.gauge("gpt-6-luna").counter.count("three words here") == 3
print("fine")
"""
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stdout.strip() == "fine", done.stderr[-3000:]
