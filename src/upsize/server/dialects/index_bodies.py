"""Request bodies of `/v1/indexes`. Unknown fields are errors: a misspelt `filter` would find everything."""

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
Instruction = Annotated[str, msgspec.Meta(max_length=10_000)]
"""An instruction, which precedes every query."""
Name = Annotated[str, msgspec.Meta(max_length=4096)]
"""Name of a model, a store or a dtype."""
Queries = Annotated[list[LabelledQuery], msgspec.Meta(max_length=20_000)]
"""Every variant searches for each of them. The largest public test sets have 13,000 queries."""


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """Base of all bodies."""


class CreateBody(Body):
    """Settings of a new index."""

    name: str
    model: Name
    dtype: Name = "auto"
    dimension: Positive | None = None
    """Dimension of the vectors. Default: the model's."""
    coarse: Positive | None = None
    """Also keep vectors cut to this dimension, for a funnel."""
    max_length: Positive | None = None
    store: Name = "lancedb"
    truncate: bool = False
    """Truncate documents that are too long instead of refusing them."""
    instruction: Instruction | None = None
    """Instruction of the queries, in English. Default: the model's."""


class AddBody(Body):
    """Documents to write."""

    documents: list[DocumentWrite]
    keep_vectors: bool = False
    """Keep vectors in metadata as plain metadata instead of refusing them."""


class DeleteBody(Body):
    """Documents to delete."""

    ids: Annotated[list[str], msgspec.Meta(max_length=10_000)]


class RerankBody(Body):
    """Stage L1 of the cascade: a reranker reorders the first `depth` results."""

    model: Name
    depth: Depth = 20


class RescoreBody(Body):
    """Stage L2 of the cascade: a larger model rescores the first `depth` results."""

    model: Name
    depth: Depth = 50
    keep_bytes: Annotated[int, msgspec.Meta(ge=0, le=KEEP_BYTES)] = 1 << 30
    """Bytes of the larger model's vectors that are kept."""


class SearchBody(Body):
    """A search."""

    query: str | None = None
    vector: list[float] | None = None
    """The query's vector in place of its text; `fingerprint` says which model made it."""
    fingerprint: str | None = None
    k: Positive = 10
    filter: dict[str, Any] | None = None
    """{"lang": "en", "year": {"gte": 2020}}; operators: eq ne in gt gte lt lte."""
    instruction: Instruction | None = None
    dimension: Positive | None = None
    rerank: RerankBody | bool | None = None
    """Default: the index's setting. false turns the stage off."""
    rescore: bool | None = None
    """Default: the index's setting. false turns the stage off."""
    funnel: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)] | None = None
    exact: bool = False
    """Compare with every vector, even where there is an approximate index."""
    explain: bool = False


class LadderBody(Body):
    """Stages of the cascade. null turns one off; a field that is left out keeps its setting."""

    rerank: RerankBody | msgspec.UnsetType | None = msgspec.UNSET
    rescore: RescoreBody | msgspec.UnsetType | None = msgspec.UNSET
    funnel: Depth | msgspec.UnsetType | None = msgspec.UNSET


class MeasureBody(Body):
    """Stages to compare on labelled queries. Default: those that are set."""

    queries: Queries
    rerank: Annotated[list[RerankBody], msgspec.Meta(max_length=16)] = []
    rescore: Annotated[list[Depth], msgspec.Meta(max_length=16)] = []
    """Depths of the larger model that is set."""


class PlanBody(Body):
    """A move to estimate."""

    to: Name
    dtype: Name = "auto"
    dimension: Positive | None = None
    coarse: Positive | None = None
    max_length: Positive | None = None
    price: Price | None = None
    """Price of one hour of this machine."""


class StartBody(PlanBody):
    """A move to start or resume."""

    to: Name | None = None  # type: ignore[assignment]  # not needed to resume
    shadow: Share | None = None
    """Default: 0.05; on a resume, unchanged."""
    canary: Share | None = None
    """Default: 0; on a resume, unchanged."""
    force: bool = False


class TuneBody(Body):
    """Shares of the searches to change."""

    shadow: Share | None = None
    canary: Share | None = None


class ForceBody(Body):
    """A step; `force` takes it even where it would be refused."""

    force: bool = False


class CompareBody(Body):
    """Labelled queries to compare both generations on."""

    queries: Queries
    delta: Share = 0.01


class RebuildBody(Body):
    """The generation to rebuild. Default: the one that answers."""

    generation: Name | None = None
