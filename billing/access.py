"""Who may look at what in the dashboard: people, their roles, and the teams they may see. Pure.

Every question that a view asks of the ledger passes ``Viewer.scope`` first, so a view that
forgets to hide something still gets no figure that is not its viewer's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from billing.errors import BillingError
from billing.policy_schema import PersonConfig, Role

if TYPE_CHECKING:  # a scope knows the tables, which are not needed here
    from billing.scope import Scope


class NotAllowed(BillingError):
    """A view, team or receipt that this person may not see."""


SUMS = frozenset({"compare", "overview", "teams", "models", "quality"})
_MONEY = frozenset({"requests", "playground", "chargeback", "reconcile", "prices"})
_VIEWS: Mapping[Role, frozenset[str]] = {
    Role.VIEWER: SUMS,
    Role.OWNER: SUMS | {"requests", "playground"},
    Role.FINANCE: SUMS | _MONEY,
    Role.ADMIN: SUMS | _MONEY,
}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who looks. ``teams`` are all that may be seen, None for every one."""

    name: str
    role: Role
    teams: tuple[str, ...] | None = None

    def may(self, view: str) -> bool:
        """Whether a view is theirs."""
        return view in _VIEWS[self.role]

    def need(self, view: str) -> None:
        """Nothing, or NotAllowed where the view is not theirs."""
        if not self.may(view):
            raise NotAllowed(f"{self.name} may not see {view}: the role {self.role.value} does not")

    def scope(self, scope: Scope) -> Scope:
        """The scope as it was asked for, or NotAllowed where it holds another team's money."""
        if self.teams is not None and scope.team not in self.teams:
            asked = "all teams" if scope.team is None else f"team {scope.team}"
            raise NotAllowed(f"{self.name} may not see {asked}: only {', '.join(self.teams)}")
        return scope

    def sees(self, team: str) -> bool:
        """Whether one team's money may be seen."""
        return self.teams is None or team in self.teams

    def sees_node(self, node: str) -> bool:
        """Whether a node of the accounts' tree (``team``, ``team/project``...) may be seen."""
        return self.sees(node.split("/", 1)[0])


EVERYBODY = Viewer("everybody", Role.ADMIN)
"""Who looks where nobody has to log in."""


def viewer_of(people: Mapping[str, PersonConfig], secret: str) -> Viewer | None:
    """Whose key this is, or None. Every key is compared, in constant time each."""
    told = hashlib.sha256(secret.strip().encode()).hexdigest()
    found = None
    for name, person in people.items():
        if hmac.compare_digest(told, person.key):
            found = Viewer(name, person.role, person.teams or None)
    return found
