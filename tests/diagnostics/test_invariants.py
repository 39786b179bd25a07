from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints import EMBEDDER, RERANKER, Layout, copy_of, edit_json, write_weights
from upsize.compute import LoadedModel, load_model
from upsize.diagnostics import invariants
from upsize.diagnostics.forward import ids_of
from upsize.errors import CheckpointError
from upsize.model import EmbeddingPrompts, open_checkpoint
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids

Folders = Callable[[Layout], Path]


@pytest.fixture(scope="module", params=["bfloat16", "float16"])
def halved(request: pytest.FixtureRequest, embedder_folder: Path) -> LoadedModel:
    return load_model(str(embedder_folder), device="cpu", dtype=request.param)


def test_all_hold_of_a_good_embedder(embedder: LoadedModel) -> None:
    assert invariants.finite(embedder).status == "passed"
    assert invariants.batch_invariance(embedder, 6).status == "passed"
    assert invariants.dimensions(embedder).status == "passed"
    assert invariants.end_token(embedder).status == "passed"
    assert invariants.prompts(embedder.checkpoint).status == "passed"


def test_all_hold_of_a_good_reranker(reranker: LoadedModel) -> None:
    assert invariants.finite(reranker).status == "passed"
    assert invariants.batch_invariance(reranker, 3).status == "passed"
    assert invariants.template(reranker).status == "passed"
    assert invariants.prompts(reranker.checkpoint).status == "passed"


def test_they_hold_in_half_precision(halved: LoadedModel) -> None:
    assert invariants.batch_invariance(halved, 3).status == "passed"
    assert invariants.dimensions(halved).status == "passed"


@pytest.mark.parametrize("layout", [EMBEDDER, RERANKER])
def test_an_infinite_weight_is_found(layout: Layout, checkpoint_folder: Folders, tmp_path: Path) -> None:
    folder = copy_of(checkpoint_folder(layout), tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    name = "layers.1.mlp.down_proj.weight"
    name = name if name in tensors else f"model.{name}"
    tensors[name][0, 0] = float("inf")
    write_weights(folder, tensors)
    model = load_model(str(folder), device="cpu")
    check = invariants.finite(model)
    assert check.status == "failed"
    assert "imports" in check.note
    if layout is EMBEDDER:
        with pytest.raises(CheckpointError):
            invariants.dimensions(model)


class Mixing(LoadedModel):
    """A model that lets batch mates see each other a little."""

    def __init__(self, model: LoadedModel, amount: float) -> None:
        super().__init__(model.checkpoint, model.plan)
        self.amount = amount

    @torch.inference_mode()
    def run(self, sequences: Sequence[Ids]) -> Generator[bool, None, Vectors]:
        states = yield from super().run(sequences)
        return states + np.float32(self.amount) * (states.sum(0) - states)


@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_a_batch_mate_that_is_seen_is_found(kind: str, request: pytest.FixtureRequest) -> None:
    model: LoadedModel = request.getfixturevalue(kind)
    assert invariants.batch_invariance(Mixing(model, 0.0), 3).status == "passed"
    assert invariants.batch_invariance(Mixing(model, 1e-3), 3).status == "failed"


def test_a_batch_mate_that_is_seen_is_found_in_half_precision(halved: LoadedModel) -> None:
    assert invariants.batch_invariance(Mixing(halved, 0.05), 3).status == "failed"


def given(*wanted: int) -> dict[int, Vectors]:
    full = np.random.default_rng(0).standard_normal((3, 64))
    full /= np.linalg.norm(full, axis=1, keepdims=True)
    cut = {d: full[:, :d] / np.linalg.norm(full[:, :d], axis=1, keepdims=True) for d in wanted}
    return {64: full.astype(np.float32)} | {d: v.astype(np.float32) for d, v in cut.items()}


def holds(vectors: dict[int, Vectors]) -> bool:
    return all(f.holds for f in invariants.dimension_figures(vectors))


def test_a_vector_that_was_cut_and_not_normalised_is_found() -> None:
    right = given(32, 48)
    assert holds(right)
    assert not holds(right | {32: right[64][:, :32]})


def test_a_vector_that_was_cut_elsewhere_or_not_at_all_is_found() -> None:
    right = given(32)
    last = right[64][:, 32:] / np.linalg.norm(right[64][:, 32:], axis=1, keepdims=True)
    assert not holds(right | {32: last})
    assert not holds(right | {32: right[64]})


def test_a_tokenizer_without_the_end_rule_is_found(checkpoint_folder: Folders) -> None:
    model = load_model(str(checkpoint_folder(Layout(end_rule=False))), device="cpu")
    check = invariants.end_token(model)
    assert check.status == "failed"
    assert "Download the current tokenizer.json" in check.note
    assert [f.value for f in check.figures] == [0, 1], "upsize itself still appends it, once"


def test_an_end_token_that_is_forgotten_or_doubled_is_found(
    embedder: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = invariants.encode
    end = embedder.checkpoint.tokenizer.end_id
    for change in (lambda ids: ids[:-1], lambda ids: np.append(ids, np.int32(end))):
        broken = lambda m, r, change=change: [replace(e, ids=change(e.ids)) for e in encode(m, r)]  # noqa: E731
        monkeypatch.setattr(invariants, "encode", broken)
        assert invariants.end_token(embedder).figures[0].value == 3 * len(invariants.PROBES)


@pytest.mark.parametrize("lost", ["its end", "its beginning", "its document"])
def test_a_template_that_lost_something_is_found(
    lost: str, reranker: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: LoadedModel, texts: Sequence[str]) -> list[Ids]:
        tokenizer = model.checkpoint.tokenizer
        suffix, prefix = (len(tokenizer.encode(p)) for p in (invariants.RERANK_SUFFIX, invariants.RERANK_PREFIX))
        whole = ids_of(model, texts)
        if lost == "its document":
            return [np.concatenate((ids[:prefix], ids[-suffix:])) for ids in whole]
        return [ids[:-1] if lost == "its end" else ids[1:] for ids in whole]

    monkeypatch.setattr(invariants, "ids_of", broken)
    assert invariants.template(reranker).status == "failed"


def test_prompts_that_are_nobodys_are_found(embedder: LoadedModel) -> None:
    spaced = EmbeddingPrompts(query=embedder.checkpoint.prompts.query + " ")  # type: ignore[union-attr]
    assert invariants.prompts(replace(embedder.checkpoint, prompts=spaced)).status == "failed"


def test_prompts_of_the_checkpoint_are_its_own_business(checkpoint_folder: Folders, tmp_path: Path) -> None:
    folder = copy_of(checkpoint_folder(EMBEDDER), tmp_path / "own")
    edit_json(folder / "config_sentence_transformers.json", prompts={"query": "search: ", "document": "text: "})
    check = invariants.prompts(open_checkpoint(folder))
    assert check.status == "passed"
    assert "the checkpoint's own" in check.note
    assert "search: " in check.note


def test_a_changed_template_is_found(reranker: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "RERANK_BODY", invariants.RERANK_BODY.replace("\n", "\n\n"))
    assert invariants.prompts(reranker.checkpoint).status == "failed"
