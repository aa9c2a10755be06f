"""What this package raises. Nothing here mentions HTTP."""

from __future__ import annotations

from dataclasses import dataclass


class BillingError(Exception):
    """Base of every error of the billing package."""


class PriceMissing(BillingError):
    """No price in force for a model; never read as zero."""

    def __init__(self, provider: str, model: str, component: str = "") -> None:
        self.provider, self.model, self.component = provider, model, component
        part = f" component {component!r}" if component else ""
        super().__init__(
            f"no price in force for model {model!r} of provider {provider!r}{part}; declare one "
            f"under models.<name>.price, or write `free: true` there if it costs nothing"
        )


class UsageInvalid(BillingError):
    """A provider's usage report that cannot be split into disjoint buckets."""


class ReceiptInvalid(BillingError):
    """A receipt whose parts do not add up; nothing of it is posted."""

    def __init__(self, request_id: str, problem: str) -> None:
        self.request_id = request_id
        super().__init__(f"receipt {request_id} does not add up: {problem}")


@dataclass(frozen=True, slots=True)
class BudgetFigures:
    """One budget window at one instant; money in nano-USD, times as UTC epoch ms."""

    budget: str
    spent_nano: int
    held_nano: int
    limit_nano: int
    resets_at: str


class BudgetExhausted(BillingError):
    """A hold that does not fit under a limit; ``figures`` is the tightest window."""

    def __init__(self, message: str, figures: BudgetFigures) -> None:
        self.figures = figures
        super().__init__(message)


class ApprovalNeeded(BudgetExhausted):
    """A ladder lets nothing more pass without a grant; ``figures`` is the tightest window."""


class Throttled(BillingError):
    """A rate, token or concurrency limit; try again after ``retry_after_s`` seconds."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class LedgerUnavailable(BillingError):
    """The store cannot take a row; with a hard budget the request must not be sent."""


class LedgerMissing(LedgerUnavailable):
    """There is no database where one is to be read: nothing is made by asking."""

    def __init__(self, path: object) -> None:
        super().__init__(
            f"there is no ledger at {path}, which is what `database:` of the configuration comes "
            f"to; name the configuration the gateway runs with (`--config`), or correct "
            f"`database:`; `weir serve` makes a new one"
        )
