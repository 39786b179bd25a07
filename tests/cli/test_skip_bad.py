"""A text that the network gives NaN for costs its own row, in every command and output; the others are as ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tests.checkpoints import copy_of
from tests.cli.conftest import Ran
from upsize import Embedder, Reranker
from upsize.jobs.partial_output import Partial

Command = Callable[..., Ran]
POISON = "東京"
TEXTS = [f"Train {i} to Geneva." for i in range(200)]
BAD = (3, 70, 71, 199)
ROWS = [f"{text} {POISON}" if i in BAD else text for i, text in enumerate(TEXTS)]
GOOD = [text for i, text in enumerate(TEXTS) if i not in BAD]


def poisoned(folder: Path, to: Path) -> Path:
    """A copy of a checkpoint that gives NaN for texts with POISON in them, and the same as before for others."""
    copy = copy_of(folder, to)
    tensors = load_file(copy / "model.safetensors")
    name = next(n for n in tensors if n.endswith("embed_tokens.weight"))
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    ids = {i for text in (POISON, f" {POISON}") for i in tokenizer.encode(text, add_special_tokens=False).ids}
    others = {i for text in TEXTS for i in tokenizer.encode(text).ids}
    tensors[name][sorted(ids - others)] = float("nan")
    save_file(tensors, copy / "model.safetensors")
    return copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "docs.txt"
    path.write_text("".join(row + "\n" for row in ROWS))
    return path


def test_embed(upsize: Command, tmp_path: Path, source: Path, embedder_folder: Path) -> None:
    model = poisoned(embedder_folder, tmp_path / "model")
    with Embedder(str(embedder_folder)) as embedder:
        expected = embedder.encode_document(GOOD)
    for suffix in (".npy", ".parquet"):
        output = tmp_path / f"out{suffix}"
        ran = upsize("embed", source, "-o", output, "-m", model, "--dtype", "float32", "--skip-bad")
        assert ran.code == 0, ran.err
        assert "4 rows skipped" in ran.out
        assert "line 4: NaN or infinite values in float32" in ran.out
        facts = json.loads((tmp_path / f"out{suffix}.json").read_text())
        assert facts["rows"] == len(GOOD)
        assert [row["line"] for row in facts["skipped"]] == [i + 1 for i in BAD]
        if suffix == ".npy":
            found = np.load(output)
        else:
            table = pq.read_table(output)
            found = np.array(table["embedding"].to_pylist())
            assert json.loads(table.schema.metadata[b"upsize"])["skipped"] == facts["skipped"]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    ran = upsize("embed", source, "-o", tmp_path / "strict.npy", "-m", model, "--dtype", "float32")
    assert ran.code == 1
    assert f"{source}, line 4: NaN or infinite values in float32" in ran.err
    assert "leave the row out with --skip-bad" in ran.err


def test_nothing_that_can_be_embedded(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    model = poisoned(embedder_folder, tmp_path / "model")
    (tmp_path / "d.txt").write_text(f"{POISON}\n{POISON} {POISON}\n")
    ran = upsize("embed", tmp_path / "d.txt", "-o", tmp_path / "o.npy", "-m", model, "--dtype", "float32", "--skip-bad")
    assert ran.code == 1
    assert "none of its rows can be computed:\n  line 1: NaN or infinite values in float32" in ran.err
    assert not (tmp_path / "o.npy.partial").exists()


def test_rerank(upsize: Command, tmp_path: Path, source: Path, reranker_folder: Path) -> None:
    model = poisoned(reranker_folder, tmp_path / "model")
    with Reranker(str(reranker_folder)) as reranker:
        best = [d.document for d in reranker.rank("train?", GOOD)][:5]
    options = ("-m", model, "--dtype", "float32", "--skip-bad")
    ran = upsize("rerank", "train?", source, "--json", "-n", 5, *options)
    assert [json.loads(line)["document"] for line in ran.out.splitlines()] == best
    assert "4 rows skipped:\n  line 4: NaN or infinite values in float32" in ran.err
    queries = tmp_path / "queries.jsonl"
    rows = [{"id": i, "query": "train?", "documents": [TEXTS[0], ROWS[i]]} for i in range(2, 6)]
    queries.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = upsize("rerank", queries, "-o", tmp_path / "o.jsonl", "--id-field", "id", *options)
    assert ran.code == 0, ran.err
    assert [json.loads(line)["id"] for line in (tmp_path / "o.jsonl").read_text().splitlines()] == [2, 4, 5]
    assert "1 rows skipped" in ran.out


def test_what_failed_is_remembered_after_a_stop(tmp_path: Path) -> None:
    with Partial(tmp_path / "o.npy", overwrite=False) as partial:
        partial.begin({"job": 1}, 4, b"head")
        partial.append(b"ab", 2, 9, [], [(2, "NaN")])
        partial.commit()
        partial.append(b"", 0, 0, [], [(4, "NaN")])
        partial.commit()
        partial.append(b"lost", 1, 1, [], [(5, "not committed")])
    with Partial(tmp_path / "o.npy", overwrite=False) as partial:
        partial.begin({"job": 1}, 4, b"head")
        assert (partial.committed.rows, partial.committed.failed) == (2, 2)
        assert partial.failed == [(2, "NaN"), (4, "NaN")]
