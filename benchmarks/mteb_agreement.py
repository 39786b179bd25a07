"""Our figures beside mteb's own, of the same vectors of the same texts: every kind of task.

usage: python -m benchmarks.mteb_agreement DATASETS [--model demo-s]

DATASETS is what `python -m benchmarks.datasets` laid out. Needs mteb.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import RESULTS, model_name, write
from upsize import Embedder
from upsize.evaluation.datasets import (
    Dataset,
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    TaskKind,
    UnitMetadata,
    load_dataset,
)
from upsize.evaluation.metrics import point_estimate
from upsize.evaluation.mteb_encoder import MtebEncoder
from upsize.evaluation.tasks import Task, UnjudgedTask, task_of

SEED = 42
"""mteb's."""
SIDES = {"queries": "query", "corpus": "document", "documents": "document"}
"""Group → mteb's type of prompt; the other groups have none."""

Table = Mapping[tuple[str, str], NDArray[np.float32]]
"""(side, text) → its vector, for both to take the same."""


class Lookup(MtebEncoder):
    """Gives each text its known vector."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def encode(self, inputs: Iterable[Mapping[str, Any]], *, prompt_type: Any = None, **_: Any) -> NDArray[np.float32]:
        """From the table."""
        side = prompt_type.value if prompt_type else ""
        return np.stack([self._table[side, text] for batch in inputs for text in batch["text"]])

    @property
    def mteb_model_meta(self) -> Any:
        """A name, which mteb asks for."""
        from mteb.models import ModelMeta

        return ModelMeta.create_empty({"name": "upsize/lookup", "revision": "1"})


def ours(task: Task, table: Table) -> dict[str, float]:
    """Metric → our figure."""
    vectors = {
        name: np.stack([table[SIDES.get(name, ""), text] for text in group.texts])
        for name, group in task.groups().items()
    }
    columns = task.observe(vectors, SEED)
    return {metric.name: point_estimate(metric, columns) for metric in (task.metric, *task.also)}


def theirs(data: Dataset, table: Table) -> dict[str, float]:
    """Metric, as we call it → mteb's figure, from the abstract task of the kind with our data in it."""
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.mocks.mock_tasks.bitext_mining import MockBitextMiningTask
    from mteb.mocks.mock_tasks.classification import MockClassificationTask
    from mteb.mocks.mock_tasks.clustering import MockClusteringTask
    from mteb.mocks.mock_tasks.pair_classification import MockPairClassificationTask
    from mteb.mocks.mock_tasks.reranking import MockRerankingTask
    from mteb.mocks.mock_tasks.retrieval import MockRetrievalTask
    from mteb.mocks.mock_tasks.sts import MockSTSTask

    class PlainClassification(AbsTaskClassification):  # type: ignore[misc]
        metadata = MockClassificationTask.metadata
        is_cross_validation = not getattr(data, "train_texts", ())
        train_split = "test" if is_cross_validation else "train"

    ranked = {
        "nDCG@10": "ndcg_at_10",
        "recall@10": "recall_at_10",
        "recall@100": "recall_at_100",
        "MRR@10": "mrr_at_10",
    }
    base, names = {
        TaskKind.STS: (MockSTSTask, {"Spearman": "cosine_spearman"}),
        TaskKind.PAIR_CLASSIFICATION: (MockPairClassificationTask, {"average precision": "cosine_ap"}),
        TaskKind.BITEXT: (MockBitextMiningTask, {"F1": "f1", "accuracy": "accuracy"}),
        TaskKind.CLUSTERING: (MockClusteringTask, {"V-measure": "v_measure"}),
        TaskKind.CLASSIFICATION: (PlainClassification, {"accuracy": "accuracy"}),
        TaskKind.RETRIEVAL: (MockRetrievalTask, ranked),
        TaskKind.CODE_SEARCH: (MockRetrievalTask, ranked),
        TaskKind.RERANKING: (MockRerankingTask, {"nDCG@10": "ndcg_at_10", "MAP": "map_at_1000", "MRR@10": "mrr_at_10"}),
    }[data.kind]
    filling = _filling(data)

    def load_data(self: Any, **_: Any) -> None:
        self.dataset, self.data_loaded = filling, True

    task = type("Filled", (base,), {"load_data": load_data})()
    found = task.evaluate(Lookup(table), "test", encode_kwargs={"batch_size": 64, "show_progress_bar": False})
    return {ours: float(found["default"][theirs]) for ours, theirs in names.items()}


def _filling(data: Dataset) -> Any:
    """Our data as mteb holds it."""
    from datasets import Dataset as Rows
    from datasets import DatasetDict

    def split(**columns: Iterable[Any]) -> Any:
        return Rows.from_dict({name: list(values) for name, values in columns.items()})

    match data:
        case PairsData():
            name, kind = ("score", float) if data.kind is TaskKind.STS else ("labels", int)
            return {"test": split(sentence1=data.left, sentence2=data.right, **{name: map(kind, data.scores)})}
        case ParallelData():
            return {"test": split(sentence1=data.left, sentence2=data.right)}
        case LabelledData() if data.kind is TaskKind.CLUSTERING:
            return {"test": split(sentences=[data.texts], labels=[data.labels])}
        case LabelledData():
            splits = {"test": split(text=data.texts, label=data.labels)}
            if data.train_texts:
                splits["train"] = split(text=data.train_texts, label=data.train_labels)
            return DatasetDict(splits)
        case RetrievalData():
            documents, judgements, candidates = (
                dict(zip(data.document_ids, data.documents, strict=True)),
                data.judgements,
                None,
            )
        case RerankingData():
            ids = {text: f"d{i:06}" for i, text in enumerate(dict.fromkeys(t for own in data.documents for t in own))}
            documents = {document: text for text, document in ids.items()}
            judgements = {
                unit: dict(zip(map(ids.__getitem__, own), grades, strict=True))
                for unit, own, grades in zip(data.unit_metadata.ids, data.documents, data.relevance, strict=True)
            }
            candidates = {unit: list(grades) for unit, grades in judgements.items()}
        case _:
            raise TypeError(f"no mteb task for {data.kind}")
    searched = {
        "queries": split(id=data.unit_metadata.ids, text=data.queries),
        "corpus": split(id=documents, text=documents.values(), title=[""] * len(documents)),
        "relevant_docs": {unit: dict(grades) for unit, grades in judgements.items()},
        "top_ranked": candidates,
    }
    return {"default": {"test": searched}}


def embed(embedder: Embedder, task: Task, table: dict[tuple[str, str], NDArray[np.float32]]) -> None:
    """Add each different text of each side to the table, if it is not there."""
    for name, group in task.groups().items():
        side = SIDES.get(name, "")
        texts = [text for text in dict.fromkeys(group.texts) if (side, text) not in table]
        results = embedder.stream(texts, group.input_type, instruction=group.instruction)
        vectors = [vector for result in results for vector in result.values]
        table.update({(side, text): vector for text, vector in zip(texts, vectors, strict=True)})


def thinned(data: Dataset, step: int) -> Dataset:
    """Every so-manieth unit: what a minute of one core can embed. A corpus stays whole."""
    part = slice(None, None, step)
    unit_metadata = UnitMetadata(data.unit_metadata.ids[part])
    match data:
        case RetrievalData():
            judgements = {unit: data.judgements[unit] for unit in unit_metadata.ids}
            return replace(data, unit_metadata=unit_metadata, queries=data.queries[part], judgements=judgements)
        case PairsData():
            return replace(
                data,
                unit_metadata=unit_metadata,
                left=data.left[part],
                right=data.right[part],
                scores=data.scores[part],
            )
        case ParallelData():
            return replace(data, unit_metadata=unit_metadata, left=data.left[part], right=data.right[part])
        case LabelledData():
            return replace(
                data,
                unit_metadata=unit_metadata,
                texts=data.texts[part],
                labels=data.labels[part],
                train_texts=data.train_texts[part],
                train_labels=data.train_labels[part],
            )
        case _:
            raise TypeError(f"{data.kind} is not thinned")


def cases(folder: Path) -> dict[str, Dataset]:
    """A data set of every kind."""
    questions = thinned(load_dataset(folder / "xquad-zh"), 5)
    pairs = thinned(load_dataset(folder / "stsb-zh.csv"), 6)
    titles = thinned(load_dataset(folder / "thucnews.jsonl", "clustering"), 25)
    assert isinstance(questions, RetrievalData)
    assert isinstance(pairs, PairsData)
    return {
        "STS-B zh": pairs,
        "STS-B zh, pairs of 4 and more": replace(
            pairs, kind=TaskKind.PAIR_CLASSIFICATION, scores=tuple(float(score >= 4) for score in pairs.scores)
        ),
        "Tatoeba zh to en": thinned(load_dataset(folder / "tatoeba-zh-en.jsonl"), 5),
        "THUCNews titles": titles,
        "THUCNews titles, five folds": replace(titles, kind=TaskKind.CLASSIFICATION),
        "Banking77": thinned(load_dataset(folder / "banking77"), 16),
        "XQuAD zh, questions to paragraphs": questions,
        "XQuAD zh, each question with 20 paragraphs": _candidates(questions),
    }


def _candidates(data: RetrievalData) -> RerankingData:
    """Each query with its own document and the 19 that follow it in the corpus."""
    texts = list(data.documents)
    owns = [data.document_ids.index(next(iter(data.judgements[unit]))) for unit in data.unit_metadata.ids]
    return RerankingData(
        name=data.name,
        kind=TaskKind.RERANKING,
        unit_metadata=data.unit_metadata,
        notes=(),
        row_errors=(),
        queries=data.queries,
        documents=tuple(tuple(texts[(own + i) % len(texts)] for i in range(20)) for own in owns),
        relevance=((1, *[0] * 19),) * len(owns),
    )


def measure(folder: Path, model: str, results: Path = RESULTS) -> Path:
    """Write both figures of every metric that both have."""
    logging.getLogger("mteb").setLevel(logging.ERROR)
    found: list[dict[str, Any]] = []
    table: dict[tuple[str, str], NDArray[np.float32]] = {}
    with Embedder(model, truncate=True) as embedder:
        for name, data in cases(folder).items():
            task = task_of(data, "")
            assert not isinstance(task, UnjudgedTask)
            embed(embedder, task, table)
            mine, other = ours(task, table), theirs(data, table)
            figures = {metric: {"ours": mine[metric], "mteb": value} for metric, value in other.items()}
            found.append({"data": name, "task": task.name, "n": len(task.units), "figures": figures})
    return write(
        "mteb-agreement",
        {
            "model": model_name(model),
            "mteb": metadata.version("mteb"),
            "greatest_difference": max(abs(f["ours"] - f["mteb"]) for row in found for f in row["figures"].values()),
            "rounded_by_mteb": "figures of rankings, to 5 digits",
            "results": found,
        },
        results,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--model", default="demo-s")
    arguments = parser.parse_args()
    measure(arguments.datasets, arguments.model)
