from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.checkpoints import EMBEDDER, RERANKER, Layout, copy_of, edit_json, write_checkpoint
from upsize.compute import LoadedModel, load_model
from upsize.diagnostics import Check, parity

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'upsize[verify]'")
pytestmark = pytest.mark.usefixtures("fewer_texts")
Folders = Callable[[Layout], Path]


def checks(model: LoadedModel, reference: Path | None = None) -> dict[str, Check]:
    return {c.name: c for c in parity.parity(model, reference)}


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        (EMBEDDER, "float32"),
        (replace(EMBEDDER, prefixed=True, sharded=True, transformers_5=True), "bfloat16"),
        (RERANKER, "bfloat16"),
        (replace(RERANKER, tied=False), "float32"),
        (replace(RERANKER, score_head=True), "float16"),
    ],
)
def test_a_good_checkpoint_is_in_parity(
    layout: Layout, dtype: str, checkpoint_folder: Folders, capfd: pytest.CaptureFixture[str]
) -> None:
    found = checks(load_model(str(checkpoint_folder(layout)), device="cpu", dtype=dtype))
    assert {name: c.status for name, c in found.items()} == {
        parity.EXACT: "passed",
        parity.SERVED: "skipped" if dtype == "float32" else "passed",
        parity.TOKENS: "passed",
    }, found
    assert capfd.readouterr() == ("", ""), "the user's terminal is no place for progress bars of transformers"


@pytest.mark.parametrize(
    ("layout", "change"), [(EMBEDDER, {"rope_theta": 900_000}), (RERANKER, {"rms_norm_eps": 1e-2})]
)
def test_a_changed_number_in_the_configuration_is_found(
    layout: Layout, change: dict[str, float], checkpoint_folder: Folders, tmp_path: Path
) -> None:
    original = checkpoint_folder(layout)
    changed = copy_of(original, tmp_path / "changed")
    edit_json(changed / "config.json", **change)
    found = checks(load_model(str(changed), device="cpu"), original)
    assert found[parity.EXACT].status == "failed"


@pytest.mark.parametrize("layout", [EMBEDDER, RERANKER])
def test_other_weights_are_found_in_every_precision(layout: Layout, checkpoint_folder: Folders, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other", replace(layout, seed=7))
    found = checks(load_model(str(checkpoint_folder(layout)), device="cpu", dtype="bfloat16"), other)
    assert found[parity.EXACT].status == found[parity.SERVED].status == "failed"


def test_a_tokenizer_that_lacks_the_end_token_gives_other_ids(checkpoint_folder: Folders) -> None:
    without = checkpoint_folder(replace(EMBEDDER, end_rule=False))
    found = checks(load_model(str(without), device="cpu"))
    assert found[parity.EXACT].status == "passed"
    assert found[parity.TOKENS].status == "failed"


def test_without_transformers_it_is_skipped_and_says_how_to_get_it(
    embedder: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity.importlib.util, "find_spec", lambda name: None)
    found = checks(embedder)
    assert {c.status for c in found.values()} == {"skipped"}
    assert "pip install 'upsize[verify]'" in found[parity.EXACT].note


def test_without_memory_it_is_skipped_and_says_how_much_is_missing(
    embedder: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(parity.this_machine(), available=1_000_000)
    monkeypatch.setattr(parity, "this_machine", lambda: machine)
    found = checks(embedder)
    assert {c.status for c in found.values()} == {"skipped"}
    assert "GB free" in found[parity.EXACT].note


def test_a_reference_that_lacks_tensors_is_no_reference(
    embedder: LoadedModel, checkpoint_folder: Folders, tmp_path: Path
) -> None:
    lacking = copy_of(checkpoint_folder(EMBEDDER), tmp_path / "lacking")
    edit_json(lacking / "config.json", num_hidden_layers=4)
    found = checks(embedder, lacking)
    assert {c.status for c in found.values()} == {"skipped"}
    assert "would initialise them at random" in found[parity.EXACT].note
