"""What this package raises."""

from __future__ import annotations


class RouterError(Exception):
    """Base of every error of the router package."""


class NoCandidate(RouterError):
    """No model can serve the request; ``exclusions`` says why for each.

    ``unpriced`` is true when a missing price is the only reason.
    """

    def __init__(self, exclusions: dict[str, str], *, unpriced: bool = False) -> None:
        self.exclusions = exclusions
        self.unpriced = unpriced
        listed = "; ".join(f"{model}: {why}" for model, why in exclusions.items())
        super().__init__(f"no model can serve this request: {listed}")


class UnknownModel(RouterError):
    """A model name that the configuration does not declare."""


class CatalogInvalid(RouterError):
    """A model catalog that cannot be read."""


class PolicyInvalid(RouterError):
    """A routing or fit preference that nothing knows."""


class TooFewLabels(RouterError):
    """Labels from which no threshold can be promised."""


class WeightsInvalid(RouterError):
    """Trained weights that do not belong to this version's features."""
