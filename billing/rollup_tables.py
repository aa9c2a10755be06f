"""The roll-ups' tables: storage shape only. All of it can be derived again from receipts.

Money is integer nano-USD; a ``bucket`` is a posting's UTC epoch milliseconds divided by the
width, rounded down. ``rollup_shape`` says what each sum is.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, text
from sqlmodel import Field, SQLModel

from billing.rollup_shape import DIMENSIONS

_TOLD = "cube goal facet arm bucket cost_nano accepted"
_NAMED = "cube goal bucket facet cost_nano"
_FACET = (
    "cube facet first last infeasible requests compared_nano baseline_nano accepted keyed cost_nano"
)


def _key() -> Column[int]:
    return Column(BigInteger, primary_key=True, nullable=False, autoincrement=False)


def _covering(name: str, where: str, columns: str) -> Index:
    """An index that answers by itself, over few of the rows."""
    some, names = text(where), columns.split()
    return Index(name, *names, sqlite_where=some, postgresql_where=some)


def _sum() -> Column[int]:
    return Column(BigInteger, nullable=False)


def _label() -> Any:
    return Field(sa_column_kwargs={"server_default": ""})


class FacetRow(SQLModel, table=True):
    """One combination of the labels of a cube; "" where there is none or it does not ask."""

    __tablename__ = "facets"
    __table_args__ = (Index("ix_facets_labels", "cube", *DIMENSIONS, unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    cube: int
    team: str = _label()
    project: str = _label()
    key: str = _label()
    user: str = _label()
    requested_model: str = _label()
    served_model: str = _label()
    tier: str = _label()
    upstream: str = _label()
    action: str = _label()
    arm: str = _label()
    state: str = _label()
    usage_source: str = _label()
    has_session: str = _label()
    has_task: str = _label()


class RollupRow(SQLModel, table=True):
    """The receipts of one facet in one bucket of time."""

    __tablename__ = "rollups"
    __table_args__ = {"sqlite_with_rowid": False}

    cube: int = Field(sa_column=_key())
    width_ms: int = Field(sa_column=_key())
    bucket: int = Field(sa_column=_key())
    facet: int = Field(sa_column=_key())
    requests: int = Field(sa_column=_sum())
    original_prompt_tokens: int = Field(sa_column=_sum())
    sent_prompt_tokens: int = Field(sa_column=_sum())
    prompt_tokens: int = Field(sa_column=_sum())
    completion_tokens: int = Field(sa_column=_sum())
    cached_tokens: int = Field(sa_column=_sum())
    effective_tokens: int = Field(sa_column=_sum())
    cost_nano: int = Field(sa_column=_sum())
    gateway_cost_nano: int = Field(sa_column=_sum())
    waste_nano: int = Field(sa_column=_sum())
    baseline_nano: int = Field(sa_column=_sum())
    compared_nano: int = Field(sa_column=_sum())
    infeasible: int = Field(sa_column=_sum())
    estimated: int = Field(sa_column=_sum())
    saved_trim_nano: int = Field(sa_column=_sum())
    saved_model_nano: int = Field(sa_column=_sum())
    saved_cache_nano: int = Field(sa_column=_sum())
    saved_retries_nano: int = Field(sa_column=_sum())
    parted_gateway_nano: int = Field(sa_column=_sum())


class SliceRow(SQLModel, table=True):
    """One session's receipts of one arm, facet (of ``cube``) and goal, in one hour.

    ``session`` is its key, or the request's id where it has none (``keyed`` 0). ``goal`` is
    what an outcome names: the task (``named`` 1), else the client's session, else "".
    ``accepted`` is 1, 0 or, where nobody said, NULL.
    """

    __tablename__ = "slices"
    __table_args__ = (
        Index("ix_slices_goal", "goal"),
        _covering("ix_slices_named", "named = 1", _NAMED),
        _covering("ix_slices_told", "accepted IS NOT NULL", _TOLD),
        {"sqlite_with_rowid": False},
    )

    cube: int = Field(sa_column=_key())
    session: str = Field(primary_key=True)
    keyed: int = Field(sa_column=_key())
    arm: str = Field(primary_key=True)
    facet: int = Field(sa_column=_key())
    goal: str = Field(primary_key=True)
    named: int = Field(sa_column=_key())
    bucket: int = Field(sa_column=_key())
    accepted: int | None
    requests: int = Field(sa_column=_sum())
    infeasible: int = Field(sa_column=_sum())
    compared_nano: int = Field(sa_column=_sum())
    baseline_nano: int = Field(sa_column=_sum())
    cost_nano: int = Field(sa_column=_sum())
    original_prompt_tokens: int = Field(sa_column=_sum())
    sent_prompt_tokens: int = Field(sa_column=_sum())
    prompt_tokens: int = Field(sa_column=_sum())
    completion_tokens: int = Field(sa_column=_sum())
    cached_tokens: int = Field(sa_column=_sum())
    effective_tokens: int = Field(sa_column=_sum())
    gateway_cost_nano: int = Field(sa_column=_sum())
    waste_nano: int = Field(sa_column=_sum())
    estimated: int = Field(sa_column=_sum())


class SessionTotalRow(SQLModel, table=True):
    """All of one session that is in the slices of ``cube``; of one model where that has models.

    ``first`` and ``last`` are its hours, ``span`` how wide a bucket holds both
    (``rollup_sessions.SPAN``), ``facet`` 0 where it has several or does not fit the moments.
    ``accepted`` is 1 where all known outcomes of its tasks are.
    """

    __tablename__ = "session_totals"
    __table_args__ = (
        Index("ix_session_totals_facet", *_FACET.split()),
        _covering("ix_session_totals_mixed", "facet = 0", "cube model first last"),
        _covering("ix_session_totals_long", "span > 0", "cube model span first last"),
        {"sqlite_with_rowid": False},
    )

    cube: int = Field(sa_column=_key())
    session: str = Field(primary_key=True)
    model: str = Field(primary_key=True)
    keyed: int = Field(sa_column=_sum())
    facet: int = Field(sa_column=_sum())
    first: int = Field(sa_column=_sum())
    last: int = Field(sa_column=_sum())
    span: int = Field(sa_column=_sum())
    accepted: int | None
    requests: int = Field(sa_column=_sum())
    infeasible: int = Field(sa_column=_sum())
    compared_nano: int = Field(sa_column=_sum())
    baseline_nano: int = Field(sa_column=_sum())
    cost_nano: int = Field(sa_column=_sum())


class SessionMomentRow(SQLModel, table=True):
    """The sessions of one facet that began in one block, summed; mixed ones left out.

    Only those with a counterfactual. The squares are of their tokenmaxxed cost, in parts
    (``rollup_sessions.MOMENTS``).
    """

    __tablename__ = "session_moments"
    __table_args__ = {"sqlite_with_rowid": False}

    cube: int = Field(sa_column=_key())
    facet: int = Field(sa_column=_key())
    block: int = Field(sa_column=_key())
    count: int = Field(sa_column=_sum())
    paid_nano: int = Field(sa_column=_sum())
    tokenmaxxed_nano: int = Field(sa_column=_sum())
    squares_high: int = Field(sa_column=_sum())
    squares_both: int = Field(sa_column=_sum())
    squares_low: int = Field(sa_column=_sum())
    known: int = Field(sa_column=_sum())
    accepted: int = Field(sa_column=_sum())


FACETS: Any = FacetRow.__table__  # type: ignore[attr-defined]  # made by SQLModel's metaclass
ROLLUPS: Any = RollupRow.__table__  # type: ignore[attr-defined]  # as above
SLICES: Any = SliceRow.__table__  # type: ignore[attr-defined]  # as above
TOTALS: Any = SessionTotalRow.__table__  # type: ignore[attr-defined]  # as above
MOMENTS: Any = SessionMomentRow.__table__  # type: ignore[attr-defined]  # as above
