"""Which currency this run of the page shows, and by which day's rate."""

from __future__ import annotations

from datetime import date

import streamlit as st

from billing.currency import rate_on
from dashboard.data import Source
from dashboard.filters import day_words
from dashboard.format import SHOWN, plain

USD = "USD"


def choose(source: Source, today: date) -> None:
    """Draw the choice where the policy names a currency; what is chosen holds for this run."""
    SHOWN.set(None)
    config = None if source.accounts is None else source.accounts.config.currency
    if config is None:
        return
    rate = rate_on(config, today)
    if rate is None:
        first = config.rates[0].since
        st.caption(f"{config.code} has no rate before {day_words(first)}.")
        return
    chosen = st.segmented_control(
        "Currency", [config.code, USD], default=config.code, required=True, key="currency",
        bind="query-params",
    )  # fmt: skip
    if chosen == config.code:
        SHOWN.set(rate)


def note() -> None:
    """Under the title: what every amount with a wavy line was converted by."""
    rate = SHOWN.get()
    if rate is not None:
        st.caption(
            plain(
                f"\u2248 {rate.code}: converted at {rate.usd_per} USD per {rate.code}, the rate of "
                f"{day_words(rate.since)}. The ledger, budgets and invoices are in USD."
            )
        )
