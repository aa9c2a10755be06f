"""The contract files that `prices.contracts` names, read and turned into clauses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from billing.contracts import Clause, override_clauses, parse_contract
from billing.policy_schema import PricesConfig
from gateway.yaml_text import Document


@dataclass(frozen=True, slots=True)
class Contracts:
    """Clauses in the order in which they are laid; the files and texts they come from."""

    clauses: tuple[Clause, ...] = ()
    files: tuple[Path, ...] = ()
    text: str = ""


def read_contracts(
    prices: PricesConfig, document: Document, upstreams: Collection[str]
) -> Contracts:
    """Every contract file, relative to the configuration's folder, and the overrides.

    Raises:
        ConfigError: a file that cannot be read or used, or an upstream that nobody declared.
    """
    folder = Path(document.source).parent
    clauses: list[Clause] = []
    files, texts = [], []
    for n, name in enumerate(prices.contracts):
        path, where = folder / name, ("prices", "contracts", n)
        try:
            text = path.read_text(encoding="utf-8")
            clauses += parse_contract(text, path.stem)
        except UnicodeDecodeError:
            raise document.error(where, f"{path} is not UTF-8", "save it as UTF-8") from None
        except OSError as error:
            problem = f"{path} cannot be read: {error.strerror}"
            raise document.error(where, problem, "write a path relative to this file") from None
        except ValueError as error:
            problem = f"{path} cannot be used: {error}"
            raise document.error(where, problem, "see docs/guides/prices.md") from None
        _check(clauses, document, upstreams)
        files.append(path)
        texts.append(text)
    clauses += override_clauses(prices.overrides)
    _check(clauses, document, upstreams)
    return Contracts(tuple(clauses), tuple(files), "\n".join(texts))


def _check(clauses: list[Clause], document: Document, upstreams: Collection[str]) -> None:
    for clause in clauses:
        for account in clause.accounts:
            if account not in upstreams:
                problem = f"{clause.layer} names upstream {account!r}, which is not declared"
                known = f"declared: {', '.join(upstreams) or 'none'}"
                raise document.error(("prices",), problem, known)
