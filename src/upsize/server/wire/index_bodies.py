"""Bodies of `/v1/indexes`. What is not known is an error: a filter that is spelt wrong would find everything."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from upsize.evolve import Incoming, LabelledQuery

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """Of any of them."""


class CreateBody(Body):
    """A new index."""

    name: str
    model: str
    dtype: str = "auto"
    dimension: Positive | None = None
    """Of the vectors. Default: the model's."""
    coarse: Positive | None = None
    """Keep vectors cut to so many values too, for a funnel."""
    max_length: Positive | None = None
    store: str = "lancedb"
    truncate: bool = False
    """Cut documents that are too long instead of refusing them."""
    instruction: str | None = None
    """Of queries, in English. Default: the model's."""


class AddBody(Body):
    """Documents to write."""

    documents: list[Incoming]


class DeleteBody(Body):
    """Documents to delete."""

    ids: list[str]


class RerankAsked(Body):
    """L1."""

    model: str
    depth: Positive = 20


class RescoreAsked(Body):
    """L2."""

    model: str
    depth: Positive = 50
    keep_bytes: int = 1 << 30
    """Of vectors that are kept."""


class SearchBody(Body):
    """A search."""

    query: str | None = None
    vector: list[float] | None = None
    """In place of the text; with `fingerprint`, the space that it is of."""
    fingerprint: str | None = None
    k: Positive = 10
    filter: dict[str, Any] | None = None
    """{"lang": "en", "year": {"gte": 2020}}; operators: eq ne in gt gte lt lte."""
    instruction: str | None = None
    dimension: Positive | None = None
    rerank: RerankAsked | bool | None = None
    """Default: the index's setting. false: without."""
    rescore: bool | None = None
    """Default: the index's setting. false: without."""
    funnel: int | None = None
    exact: bool = False
    """Look at every vector, also where there is an approximate index."""
    explain: bool = False


class LadderBody(Body):
    """The rungs; null takes one away, what is left out stays."""

    rerank: RerankAsked | msgspec.UnsetType | None = msgspec.UNSET
    rescore: RescoreAsked | msgspec.UnsetType | None = msgspec.UNSET
    funnel: Positive | msgspec.UnsetType | None = msgspec.UNSET


class MeasureBody(Body):
    """Rungs to compare on labelled queries; without any, those that are set."""

    queries: list[LabelledQuery]
    rerank: list[RerankAsked] = []
    rescore: list[Positive] = []
    """Depths, of the larger model that is set."""


class PlanBody(Body):
    """A move to look at."""

    to: str
    dtype: str = "auto"
    dimension: Positive | None = None
    coarse: Positive | None = None
    max_length: Positive | None = None
    price: float | None = None
    """Of an hour of this machine."""


class StartBody(PlanBody):
    """A move to begin, or to go on with."""

    to: str | None = None  # type: ignore[assignment]  # which is known of a move that is under way
    shadow: Share | None = None
    """Default: 0.05, or what it was."""
    canary: Share | None = None
    """Default: 0, or what it was."""
    force: bool = False


class TuneBody(Body):
    """Shares of the searches."""

    shadow: Share | None = None
    canary: Share | None = None


class ForceBody(Body):
    """Whether what would be refused is done all the same."""

    force: bool = False


class CompareBody(Body):
    """Labelled queries."""

    queries: list[LabelledQuery]
    delta: float = 0.01


class RebuildBody(Body):
    """Which generation; the one that answers, if none is named."""

    generation: str | None = None
