"""Settings of the cascade: a reranker, a larger model that rescores, and a funnel. One call sets or clears each."""

from __future__ import annotations

from upsize.errors import InvalidInput, Refused
from upsize.index.creation import VectorSpec
from upsize.index.index import Index
from upsize.index.state import KEEP_BYTES, MOST_DEPTH, Generation, Rerank, Rescore

DEPTHS = range(1, MOST_DEPTH + 1)


def set_rerank(index: Index, model: str | None, depth: int = 20) -> None:
    """Stage L1: a reranker reorders the first `depth` results; None turns it off. Loads the reranker, so that its
    errors show now."""
    if model is None:
        index.change(rerank=None)
        index.release_models()
        return
    _check_depth(depth)
    path = index.models.path(model)
    index.models.reranker(path, index.name)
    index.change(rerank=Rerank(path, depth))


def set_rescore(index: Index, model: str | None, depth: int = 50, keep_bytes: int = 1 << 30) -> None:
    """Stage L2: a larger model rescores the first `depth` results and keeps up to `keep_bytes` of its vectors. None
    turns it off, and drops the vectors unless a move to that model is under way."""
    with index.exclusive_step():
        _set_rescore(index, model, depth, keep_bytes)


def _set_rescore(index: Index, model: str | None, depth: int, keep_bytes: int) -> None:
    state = index.state
    if model is None:
        if state.rescore:
            left = state.generation(state.rescore.generation)
            if state.move and left.id in (state.move.source, state.move.target):
                index.change(rescore=None)
            else:
                index.drop_generation(left, rescore=None)
        return
    _check_depth(depth)
    if not 0 <= keep_bytes <= KEEP_BYTES:
        raise InvalidInput(f"keep_bytes is {keep_bytes}; give 0 to {KEEP_BYTES}.", param="keep_bytes")
    generation = _larger(index, index.models.path(model))
    index.change(rescore=Rescore(generation.id, depth, keep_bytes))
    for left in index.state.generations:
        if left.id not in index.state.used:
            index.drop_generation(left)


def _larger(index: Index, model: str) -> Generation:
    for generation in index.state.generations:
        if generation.model == model:
            if generation.id == index.state.active:
                raise Refused(f"{model} is what {index.name!r} searches with already.")
            return generation
    return index.add_generation(VectorSpec(model))


def set_funnel(index: Index, candidates: int | None) -> None:
    """Search coarse vectors first, and score `candidates` of them by their full vectors; None turns it off."""
    if candidates is not None:
        _check_depth(candidates)
        serving = index.state.serving
        if serving.coarse is None:
            raise Refused(
                f"{index.name!r} keeps no coarse vectors: create it, or move it, with --coarse, "
                f"for example {max(32, serving.dimension // 4)}."
            )
    index.change(funnel=candidates)


def _check_depth(depth: int) -> None:
    if depth not in DEPTHS:
        raise InvalidInput(f"depth is {depth}; give {DEPTHS[0]} to {DEPTHS[-1]}.", param="depth")
