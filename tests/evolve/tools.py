"""What tests of indexes do again and again."""

from __future__ import annotations

from collections.abc import Mapping

from upsize.evolve import Incoming, Index, Question


def write(index: Index, texts: Mapping[str, str]) -> None:
    index.add([Incoming(id, text) for id, text in texts.items()])


def settle(index: Index, steps: int = 50) -> None:
    """Let the caretaker do all there is to do, here and now."""
    for _ in range(steps):
        if not index.caretaker.step():
            return
    raise AssertionError("there is no end to it")


def ids(index: Index, query: str, k: int = 10, generation: str | None = None) -> list[str]:
    return index.search(Question(query, k=k, generation=generation, exact=True)).ids


def stored(index: Index, generation: str) -> dict[str, int]:
    """Id → number of every row of a generation."""
    return dict(index.store.placed(index.state.table(index.state.generation(generation))))


def require_in_step(index: Index) -> None:
    """Every generation that is filled holds each document once, of its text as it stands, and nothing else."""
    for generation in index.state.filled:
        assert stored(index, generation.id) == dict(index.documents.all_numbers())
