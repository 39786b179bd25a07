"""Candidates: size × dimension × precision × reranker and its depth, smallest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from upsize.catalog import FLOPS_PER_MAC, SMALLEST_DIMENSION, Kind
from upsize.compute.loaded_model import QUANTIZATIONS
from upsize.compute.plan import INT8, PRECISIONS, SYNONYMS, weight_bytes
from upsize.errors import InvalidInput, UnsupportedModel
from upsize.fingerprint import Fingerprint
from upsize.model import Checkpoint, HubOptions, locate, open_checkpoint


@dataclass(frozen=True, eq=False)
class CandidateModel:
    """A checkpoint in one precision, opened but not loaded. Equal to itself alone."""

    name: str
    """Short and unique among those compared."""
    source: str
    """Folder, hub id or demo name, as the user wrote it."""
    checkpoint: Checkpoint
    precision: str

    @property
    def flops_per_token(self) -> int:
        """Floating-point operations of the GEMMs for one token; the embedding table is looked up, not multiplied."""
        config = self.checkpoint.config
        return FLOPS_PER_MAC * (self.checkpoint.weights.parameters - config.vocab_size * config.hidden_size)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights in this precision."""
        return weight_bytes(self.checkpoint, self.precision)

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the full-dimension vectors that the model makes when it is served."""
        quantization = QUANTIZATIONS.get(self.precision, "none")
        return self.checkpoint.fingerprint(self.precision, self.checkpoint.context, quantization)


@dataclass(frozen=True)
class Candidate:
    """One way to answer queries."""

    model: CandidateModel
    dimension: int
    reranker: CandidateModel | None
    depth: int | None
    id_has_precision: bool
    """Whether the id names the precision, because several are compared."""

    @property
    def id(self) -> str:
        """`MODEL@DIMENSION:PRECISION+RERANKER/DEPTH`, without the parts that are the default."""
        full = self.dimension == self.model.checkpoint.config.hidden_size
        first = self.model.name + ("" if full else f"@{self.dimension}")
        first += f":{self.model.precision}" if self.id_has_precision else ""
        return f"{first}+{self.reranker.name}/{self.depth}" if self.reranker else first

    @property
    def models(self) -> tuple[CandidateModel, ...]:
        """The embedder, and the reranker where there is one."""
        return (self.model, self.reranker) if self.reranker else (self.model,)

    @property
    def fingerprint(self) -> Fingerprint:
        """Of the candidate's vectors."""
        return self.model.fingerprint.at(self.dimension)

    @property
    def bytes_per_vector(self) -> int:
        """In a float32 index."""
        return 4 * self.dimension

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights that answering a query needs."""
        return sum(model.weight_bytes for model in self.models)

    @property
    def latency_key(self) -> tuple[str, str | None, int | None]:
        """What the latency depends on: embedder, reranker, depth. Truncating a vector takes no time."""
        reranker = f"{self.reranker.name}:{self.reranker.precision}" if self.reranker else None
        return f"{self.model.name}:{self.model.precision}", reranker, self.depth

    def flops_per_query(self, query_tokens: float, pair_tokens: float) -> float:
        """Floating-point operations of a query of `query_tokens` tokens, with `pair_tokens` in each reranked pair."""
        embedding = self.model.flops_per_token * query_tokens
        return embedding + (self.depth or 0) * (self.reranker.flops_per_token * pair_tokens if self.reranker else 0)


def open_models(
    names: Sequence[str], kind: Kind, precisions: Sequence[str] = ("auto",), hub: HubOptions = HubOptions()
) -> list[CandidateModel]:
    """Open checkpoints by folder, hub id or demo name, in each precision. No weights are read.

    Raises CheckpointError, HubError, and InvalidInput for one named twice, or of the other kind.
    """
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InvalidInput(f"{', '.join(sorted(twice))}: named twice. Name each model once.")
    short = [Path(name).name for name in names]
    models = []
    for name, last in zip(names, short, strict=True):
        try:
            checkpoint = open_checkpoint(locate(name, hub), kind)
        except UnsupportedModel as error:
            other = "--rerankers" if kind == "embedding" else "--models"
            raise InvalidInput(f"{name} cannot be compared as an {kind} model: {error} A model for {other}?") from error
        for precision in dict.fromkeys(_precision(checkpoint, p) for p in precisions):
            models.append(CandidateModel(last if short.count(last) == 1 else name, name, checkpoint, precision))
    return models


def candidates_of(
    models: Sequence[CandidateModel],
    dims: Sequence[int] = (),
    rerankers: Sequence[CandidateModel] = (),
    depths: Sequence[int] = (20,),
) -> tuple[list[Candidate], list[str]]:
    """All combinations, and notes of the dimensions that some model does not have.

    Each model at its full dimension and at those of `dims` that are smaller. Raises InvalidInput for a dimension that
    no model gives.
    """
    largest = max(m.checkpoint.config.hidden_size for m in models)
    for dim in dims:
        if not SMALLEST_DIMENSION <= dim <= largest:
            raise InvalidInput(f"--dims {dim}: these models give {SMALLEST_DIMENSION} to {largest}.")
    several = len({m.precision for m in models}) > 1
    found, notes = [], []
    for model in models:
        own = model.checkpoint.config.hidden_size
        if beyond := [str(d) for d in dims if d > own]:
            notes.append(f"{model.name} gives {own} dimensions at most, so not {', '.join(beyond)}.")
        for dim in sorted({own, *(d for d in dims if d <= own)}):
            found.append(Candidate(model, dim, None, None, several))
            found += [Candidate(model, dim, reranker, depth, several) for reranker in rerankers for depth in depths]
    return found, list(dict.fromkeys(notes))


def smallest_first(candidates: Sequence[Candidate], query_tokens: float, pair_tokens: float) -> list[Candidate]:
    """Smallest first: least compute a query, then least memory, then fewest bytes a vector."""
    return sorted(
        candidates,
        key=lambda c: (c.flops_per_query(query_tokens, pair_tokens), c.weight_bytes, c.bytes_per_vector, c.id),
    )


def _precision(checkpoint: Checkpoint, requested: str) -> str:
    precision = SYNONYMS.get(requested, requested)
    if precision == "auto":
        stored = checkpoint.config.dtype
        return stored if stored in ("bfloat16", "float32") else "bfloat16"
    if precision not in (*PRECISIONS, INT8):
        raise InvalidInput(f"--precisions {requested!r}: use auto, {', '.join(PRECISIONS)}, {INT8}.")
    return precision
