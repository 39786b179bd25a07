"""An index of a version that sampled the weights: opened, told, and identified by all bytes from then on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.checkpoints import Layout, write_checkpoint
from tests.index.tools import write
from upsize.errors import FingerprintMismatch
from upsize.index import Index, ModelPool, SearchRequest

TEXTS = {"a": "a text", "b": "another one"}
# So wide that samples of a few pages leave out most of a tensor.
LAYOUT = Layout(hidden_size=128, intermediate_size=256, layers=1)
Make = Callable[..., Index]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model", LAYOUT)


@pytest.fixture
def old(make: Make, folder: Path, tmp_path: Path) -> Path:
    """An index's state, as an earlier version wrote it."""
    index = make("old", str(folder))
    write(index, TEXTS)
    loaded = index.models.loaded(index.models.of(index.state.serving, "test"))
    index.close()
    index.models.release("test")
    state = tmp_path / "old" / "index.json"
    raw = json.loads(state.read_bytes())
    (generation,) = raw["generations"]
    generation["fingerprint"]["weights"] = loaded.checkpoint.weights.sampled_digest
    del generation["fingerprint"]["network"], generation["former_fingerprint"]
    state.write_text(json.dumps(raw))
    return state


def damage(folder: Path) -> None:
    """Change rows that no sample sees."""
    path = folder / "model.safetensors"
    tensors = {name: values.copy() for name, values in load_file(path).items()}
    tensors["embed_tokens.weight"][20:120] = 0
    save_file(tensors, path, metadata={"format": "pt"})


def weights_of(state: Path) -> str:
    weights: str = json.loads(state.read_bytes())["generations"][0]["fingerprint"]["weights"]
    return weights


def test_it_is_opened_and_identified_by_all_bytes(
    make: Make, old: Path, models: ModelPool, caplog: pytest.LogCaptureFixture
) -> None:
    index = make("old")
    former = index.state.serving.fingerprint
    assert former.sampled
    assert index.search(SearchRequest("a text", k=1)).ids == ["a"]
    renewed = index.state.serving.fingerprint
    assert not renewed.sampled
    assert weights_of(old) == renewed.weights
    assert replace(renewed, weights=former.weights, network="") == former
    said = [r.message for r in caplog.records if r.name == "upsize.index" and r.levelno == logging.WARNING]
    assert len(said) == 1
    assert former.id in said[0]
    assert renewed.id in said[0]
    assert "upsize index rebuild old" in said[0]
    # Vectors that clients kept under the former name are still taken; others are not.
    vector = models.embed_query(models.of(index.state.serving, "old"), "a text", 128).tolist()
    for name in (former.id, renewed.id):
        assert index.search(SearchRequest(vector=vector, fingerprint=name, k=1)).ids == ["a"]
    for name in ("", None, "0123456789ab"):
        with pytest.raises(FingerprintMismatch):
            index.search(SearchRequest(vector=vector, fingerprint=name, k=1))
    index.close()
    assert make("old").search(SearchRequest("a text", k=1)).ids == ["a"]
    assert len([r for r in caplog.records if former.id in r.message]) == 1


def test_a_model_that_is_served_is_not_loaded_again_for_it(
    make: Make, old: Path, models: ModelPool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.embedder(str(folder), "test")

    def load_model(*_: object, **__: object) -> None:
        raise AssertionError("loaded a second time")

    monkeypatch.setattr("upsize.index.models.load_model", load_model)
    assert make("old").search(SearchRequest("a text", k=1)).ids == ["a"]
    assert weights_of(old).startswith("sha256-")
    models.release("test")


def test_from_then_on_a_change_that_no_sample_sees_is_refused(make: Make, old: Path, folder: Path) -> None:
    index = make("old")
    index.search(SearchRequest("a text"))
    index.close()
    damage(folder)
    with pytest.raises(FingerprintMismatch, match="differ in weights"):
        make("old").search(SearchRequest("a text"))


def test_of_other_weights_it_is_refused(make: Make, old: Path) -> None:
    raw = json.loads(old.read_bytes())
    raw["generations"][0]["fingerprint"]["weights"] = "0123456789abcdef"
    old.write_text(json.dumps(raw))
    with pytest.raises(FingerprintMismatch, match="differ in weights '0123456789abcdef'"):
        make("old").search(SearchRequest("a text"))
    assert weights_of(old) == "0123456789abcdef"


def test_where_the_state_cannot_be_written_it_is_searched_all_the_same(
    make: Make, old: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    index, before = make("old"), weights_of(old)
    monkeypatch.setattr("upsize.index.index.write_state", full)
    for _ in range(2):
        assert index.search(SearchRequest("a text", k=1)).ids == ["a"]
    assert "No space left" in caplog.text
    assert weights_of(old) == before
    monkeypatch.undo()
    index.close()
    assert not make("old").state.serving.former_fingerprint


def test_the_samples_leave_the_damage_out(folder: Path) -> None:
    """Or the tests above would prove nothing."""
    from upsize.model import open_checkpoint

    before = open_checkpoint(folder).weights
    sampled, whole = before.sampled_digest, before.digest
    damage(folder)
    after = open_checkpoint(folder).weights
    assert after.sampled_digest == sampled
    assert after.digest != whole
