"""Bodies of `/v1/indexes`. What is not known is an error: a filter that is spelt wrong would find everything."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from upsize.index import DocumentWrite
from upsize.index.state import KEEP_BYTES, MOST_DEPTH
from upsize.migration import LabelledQuery

Positive = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
Depth = Annotated[int, msgspec.Meta(ge=1, le=MOST_DEPTH)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Price = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
Words = Annotated[str, msgspec.Meta(max_length=10_000)]
"""An instruction: it goes before every query."""
Name = Annotated[str, msgspec.Meta(max_length=4096)]
"""Of a model, a store or a dtype."""
Queries = Annotated[list[LabelledQuery], msgspec.Meta(max_length=20_000)]
"""Each is asked in every way: the largest public test sets have 13,000."""


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """Of any of them."""


class CreateBody(Body):
    """A new index."""

    name: str
    model: Name
    dtype: Name = "auto"
    dimension: Positive | None = None
    """Of the vectors. Default: the model's."""
    coarse: Positive | None = None
    """Keep vectors cut to so many values too, for a funnel."""
    max_length: Positive | None = None
    store: Name = "lancedb"
    truncate: bool = False
    """Cut documents that are too long instead of refusing them."""
    instruction: Words | None = None
    """Of queries, in English. Default: the model's."""


class AddBody(Body):
    """Documents to write."""

    documents: list[DocumentWrite]
    keep_vectors: bool = False
    """Keep vectors in metadata as plain metadata instead of refusing them."""


class DeleteBody(Body):
    """Documents to delete."""

    ids: Annotated[list[str], msgspec.Meta(max_length=10_000)]


class RerankAsked(Body):
    """L1."""

    model: Name
    depth: Depth = 20


class RescoreAsked(Body):
    """L2."""

    model: Name
    depth: Depth = 50
    keep_bytes: Annotated[int, msgspec.Meta(ge=0, le=KEEP_BYTES)] = 1 << 30
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
    instruction: Words | None = None
    dimension: Positive | None = None
    rerank: RerankAsked | bool | None = None
    """Default: the index's setting. false: without."""
    rescore: bool | None = None
    """Default: the index's setting. false: without."""
    funnel: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)] | None = None
    exact: bool = False
    """Look at every vector, also where there is an approximate index."""
    explain: bool = False


class LadderBody(Body):
    """The rungs; null takes one away, what is left out stays."""

    rerank: RerankAsked | msgspec.UnsetType | None = msgspec.UNSET
    rescore: RescoreAsked | msgspec.UnsetType | None = msgspec.UNSET
    funnel: Depth | msgspec.UnsetType | None = msgspec.UNSET


class MeasureBody(Body):
    """Rungs to compare on labelled queries; without any, those that are set."""

    queries: Queries
    rerank: Annotated[list[RerankAsked], msgspec.Meta(max_length=16)] = []
    rescore: Annotated[list[Depth], msgspec.Meta(max_length=16)] = []
    """Depths, of the larger model that is set."""


class PlanBody(Body):
    """A move to look at."""

    to: Name
    dtype: Name = "auto"
    dimension: Positive | None = None
    coarse: Positive | None = None
    max_length: Positive | None = None
    price: Price | None = None
    """Of an hour of this machine."""


class StartBody(PlanBody):
    """A move to begin, or to go on with."""

    to: Name | None = None  # type: ignore[assignment]  # which is known of a move that is under way
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

    queries: Queries
    delta: Share = 0.01


class RebuildBody(Body):
    """Which generation; the one that answers, if none is named."""

    generation: Name | None = None
