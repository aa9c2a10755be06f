"""The rules of the house: arrows, sizes, purity, a test for every file."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "router", "compressor", "billing", "dashboard")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 400, 50, 6

# The pure core: everything of these packages but what is listed. It reads no clock, opens no
# socket, rolls no dice, and imports no framework.
SHELL = {
    "compressor/embedder.py": "adapter of sentence-transformers",
    "compressor/embedder_remote.py": "adapter of an endpoint",
    "compressor/summarizer_openai.py": "adapter of an endpoint",
    "compressor/summarizer_torch.py": "adapter of a local model",
    "compressor/tokens.py": "adapter of tiktoken; its cache has a lock",
    "compressor/memory.py": "a store between threads; time is its caller's",
    "compressor/shelf.py": "a store between threads",
    "compressor/fit.py": "holds the time limit; no result depends on the clock but a refusal",
    "compressor/compress.py": "holds the time limit of a summary",
    "router/probe.py": "asks a real model",
}
PURE_BILLING = {
    "billing/money.py", "billing/usage.py", "billing/prices.py", "billing/price_layers.py",
    "billing/price_match.py", "billing/budget.py", "billing/ladder.py", "billing/receipt.py",
    "billing/counterfactual.py", "billing/shadow_cache.py", "billing/accounts.py",
    "billing/policy_schema.py", "billing/counters.py", "billing/errors.py", "billing/plain.py",
    "billing/forecast.py",
}  # fmt: skip
BANNED = {
    "fastapi", "starlette", "httpx", "aiohttp", "requests", "sqlmodel", "sqlalchemy", "sqlite3",
    "litellm", "torch", "transformers", "sentence_transformers", "streamlit", "socket", "asyncio",
    "subprocess", "random", "secrets", "time", "threading", "uvicorn",
}  # fmt: skip

# Tested under another name than its own: shapes, adapters, and files read through a neighbour.
TESTED_BY = {
    "gateway/__main__.py": "tests/integration/test_lifecycle.py",
    "gateway/actions.py": "tests/integration/test_route_and_fit.py",
    "gateway/app.py": "tests/integration/test_lifecycle.py",
    "gateway/audit_table.py": "tests/integration/test_audit.py",
    "gateway/upstream/unpack.py": "tests/contract/test_upstream_clients.py",
    "gateway/workers_child.py": "tests/integration/test_workers.py",
    "gateway/charges.py": "tests/unit/test_gateway/test_pipeline.py",
    "gateway/cards_table.py": "tests/unit/test_gateway/test_cli_probe.py",
    "gateway/cli_audit.py": "tests/unit/test_gateway/test_cli.py",
    "gateway/cli_dashboard.py": "tests/integration/test_dashboard_process.py",
    "gateway/cli_common.py": "tests/unit/test_gateway/test_cli.py",
    "gateway/dry.py": "tests/unit/test_gateway/test_cli.py",
    "gateway/exchange.py": "tests/unit/test_gateway/test_pipeline.py",
    "gateway/explain.py": "tests/integration/test_route_and_fit.py",
    "gateway/ids.py": "tests/unit/test_gateway/test_workers.py",
    "gateway/kits.py": "tests/integration/test_route_and_fit.py",
    "gateway/prepare.py": "tests/integration/test_route_and_fit.py",
    "gateway/relay.py": "tests/unit/test_gateway/test_pipeline.py",
    "gateway/routes/health.py": "tests/integration/test_lifecycle.py",
    "gateway/routes/management.py": "tests/integration/test_bad_input.py",
    "gateway/server.py": "tests/integration/test_lifecycle.py",
    "gateway/settle.py": "tests/unit/test_gateway/test_pipeline.py",
    "gateway/cli_train.py": "tests/unit/test_gateway/test_cli_router.py",
    "gateway/train_labels.py": "tests/unit/test_gateway/test_cli_router.py",
    "gateway/weights_file.py": "tests/unit/test_gateway/test_cli_router.py",
    "gateway/shadow.py": "tests/integration/test_shadow.py",
    "gateway/shadow_calls.py": "tests/integration/test_shadow.py",
    "gateway/shell.py": "tests/unit/test_gateway/test_pipeline.py",
    "gateway/snapshot.py": "tests/unit/test_gateway/test_pipeline.py",
    "gateway/tables.py": "tests/unit/test_gateway/test_cli.py",
    "gateway/telemetry.py": "tests/integration/test_ledger_agreement.py",
    "gateway/upstream/direct.py": "tests/integration/test_upstream_faults.py",
    "gateway/upstream/failover.py": "tests/integration/test_upstream_faults.py",
    "gateway/upstream/protocol.py": "tests/integration/test_upstream_faults.py",
    "gateway/upstream/translated.py": "tests/integration/test_litellm_kind.py",
    "gateway/simulator_more.py": "tests/integration/test_other_wires.py",
    "gateway/upstream/balanced.py": "tests/integration/test_retries.py",
    "gateway/upstream/build.py": "tests/integration/test_retries.py",
    "gateway/routes/count.py": "tests/integration/test_messages_wire.py",
    "gateway/routes/files.py": "tests/integration/test_batches.py",
    "gateway/routes/batches.py": "tests/integration/test_batches.py",
    "gateway/batches.py": "tests/integration/test_batches.py",
    "gateway/batch_rows.py": "tests/integration/test_batches.py",
    "gateway/batch_bill.py": "tests/integration/test_batches.py",
    "gateway/upstream/storage.py": "tests/integration/test_batches.py",
    "gateway/simulator_store.py": "tests/integration/test_batches.py",
    "gateway/media.py": "tests/integration/test_media.py",
    "gateway/media_bill.py": "tests/integration/test_media.py",
    "gateway/media_price.py": "tests/integration/test_media.py",
    "gateway/answers.py": "tests/integration/test_answers.py",
    "gateway/answers_store.py": "tests/integration/test_answers.py",
    "gateway/most.py": "tests/unit/test_gateway/test_pipeline.py",
    "router/errors.py": "tests/unit/test_gateway/test_errors.py",
    "billing/errors.py": "tests/unit/test_gateway/test_errors.py",
    "billing/rollup_check.py": "tests/unit/test_billing/test_rollup.py",
    "billing/scope.py": "tests/unit/test_billing/test_reports.py",
    "billing/rollup_sessions.py": "tests/unit/test_billing/test_rollup.py",
    "billing/session_arms.py": "tests/unit/test_billing/test_rolled.py",
    "billing/session_reach.py": "tests/unit/test_billing/test_rolled.py",
    "billing/session_sums.py": "tests/unit/test_billing/test_rolled.py",
    "billing/task_sums.py": "tests/unit/test_billing/test_rolled.py",
    "compressor/errors.py": "tests/unit/test_gateway/test_errors.py",
}


def name_of(path: Path) -> str:
    """A file as it is named here."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported(path: Path) -> set[str]:
    """The top names of all that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_arrows_between_packages_hold() -> None:
    """Every import-linter contract of pyproject.toml is kept."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_functions_and_signatures_stay_small(path: Path) -> None:
    """A file has fewer than 400 lines, a function at most 50, a signature at most 6 parameters."""
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= MOST_FUNCTION_LINES, f"{function.name} has {length} lines"
        if any("command" in ast.unparse(mark) for mark in function.decorator_list):
            continue  # the options of a command are its parameters
        names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        own = 1 if names[:1] in (["self"], ["cls"]) else 0
        count = len(names) - own + len(function.args.kwonlyargs)
        assert count <= MOST_PARAMETERS or path.name.startswith("cli"), (
            f"{function.name} takes {count} parameters"
        )


def pure_files() -> list[Path]:
    """The files of the pure core."""
    return [
        path
        for path in FILES
        if (name_of(path).startswith(("compressor/", "router/")) and name_of(path) not in SHELL)
        or name_of(path) in PURE_BILLING
    ]


@pytest.mark.parametrize("path", pure_files(), ids=name_of)
def test_the_pure_core_does_no_io(path: Path) -> None:
    """No framework, socket, clock, thread or dice in what decides and counts."""
    assert not imported(path) & BANNED


def test_litellm_torch_and_streamlit_have_one_door_each() -> None:
    """A heavy library is imported by its adapter alone."""
    doors = {
        "litellm": {"gateway/upstream/translated.py"},
        "sentence_transformers": {"compressor/embedder.py"},
        "torch": {"compressor/summarizer_torch.py"},
    }
    for library, allowed in doors.items():
        users = {name_of(path) for path in FILES if library in imported(path)}
        assert users <= allowed, f"{library} is imported by {sorted(users - allowed)}"
    users = {name_of(path) for path in FILES if "streamlit" in imported(path)}
    assert all(name.startswith("dashboard/") for name in users)


def own_tests(path: Path) -> list[Path]:
    """The unit tests that bear a file's name."""
    package = name_of(path).split("/", 1)[0]
    return list((ROOT / "tests").glob(f"*/test_{package}/**/test_{path.name}"))


def module_of(path: Path) -> str:
    """A file's dotted name."""
    return name_of(path).removesuffix(".py").replace("/", ".")


def imports_of(path: Path) -> set[str]:
    """The dotted names that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def untested() -> list[str]:
    """Files without a test of their name, of a test that imports them, or of their whole.

    A part is tested through the file that it is a part of: one that imports it and has a
    test itself.
    """
    used: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("*.py"):
        used[name_of(path)] = imports_of(path)
    tested = {
        path: bool(own_tests(path))
        or name_of(path) in TESTED_BY
        or any(module_of(path) in names for names in used.values())
        for path in FILES
    }
    graph = {path: imports_of(path) for path in FILES}
    return [
        name_of(path)
        for path in FILES
        if not tested[path]
        and path.name != "__init__.py"
        and not name_of(path).startswith(("billing/migrations/", "dashboard/"))
        and not any(tested[user] and module_of(path) in graph[user] for user in FILES)
    ]


def test_every_file_has_its_test() -> None:
    """A file's test bears its name or imports it, or the file is part of one that is tested."""
    assert untested() == []


def test_every_listed_test_is_there() -> None:
    """What is said to be tested elsewhere is a file, and so is the test."""
    for name, test in TESTED_BY.items():
        assert (ROOT / name).exists(), name
        assert (ROOT / test).exists(), test


def test_nothing_is_bound_to_a_packages_name() -> None:
    """A variable called like a package would hide it from whoever reads or runs the file."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                assert node.id not in PACKAGES, f"{name_of(path)} binds {node.id}"
    for folder in (ROOT / "dashboard", ROOT / "tests"):
        found = {path.stem for path in folder.rglob("*") if "__pycache__" not in path.parts}
        assert not found & set(PACKAGES)


def test_every_test_promises_something() -> None:
    """Each test has a docstring of one sentence."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for function in functions(path):
            if function.name.startswith("test_"):
                said = ast.get_docstring(function)
                assert said, f"{name_of(path)}: {function.name} has no docstring"
