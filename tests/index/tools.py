"""What tests of indexes do again and again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from upsize.index import DocumentWrite, Index, SearchRequest


def write(index: Index, texts: Mapping[str, str]) -> None:
    index.add([DocumentWrite(id, text) for id, text in texts.items()])


def settle(index: Index, steps: int = 50) -> None:
    """Let the caretaker do all there is to do, here and now."""
    for _ in range(steps):
        if not index.reconciler.step():
            return
    raise AssertionError("there is no end to it")


def ids(index: Index, query: str, k: int = 10, generation: str | None = None) -> list[str]:
    return index.search(SearchRequest(query, k=k, generation=generation, exact=True)).ids


def stored(index: Index, generation: str) -> dict[str, int]:
    """Id → number of every row of a generation."""
    return dict(index.store.committed_ids(index.state.table(index.state.generation(generation))))


def require_in_step(index: Index) -> None:
    """Every generation that is filled holds each document once, of its text as it stands, and nothing else."""
    for generation in index.state.kept_current:
        assert stored(index, generation.id) == dict(index.documents.all_numbers())


SNOWMAN = "☃"
"""A text in which a checkpoint of `poisoned` gives NaN."""


def poisoned(folder: Path, destination: Path) -> Path:
    """A copy of a checkpoint whose embeddings of SNOWMAN's tokens are NaN; `destination`."""
    shutil.copytree(folder, destination)
    ids = Tokenizer.from_file(str(destination / "tokenizer.json")).encode(SNOWMAN, add_special_tokens=False).ids
    tensors = load_file(destination / "model.safetensors")
    name = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors[name][ids] = float("nan")
    save_file(tensors, destination / "model.safetensors", metadata={"format": "pt"})
    return destination
