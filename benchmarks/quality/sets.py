"""The labelled sets, as they lie in the data folder."""

from __future__ import annotations

import ast
import csv
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Retrieval:
    """Queries, documents, and the right documents of each query."""

    queries: list[str]
    documents: list[str]
    right: list[set[int]]


@dataclass(frozen=True)
class Labelled:
    """Texts with their class."""

    texts: list[str]
    labels: list[str]


def sts_b(shared: Path, lang: str, split: str = "test") -> tuple[list[str], list[str], list[float]]:
    """STS-B (stsb-multi-mt): first sentences, second sentences, similarity from 0 to 5."""
    with (shared / f"sts/stsb-multi-mt/stsb-{lang}-{split}.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if len(row) == 3]
    return [row[0] for row in rows], [row[1] for row in rows], [float(row[2]) for row in rows]


def xquad(shared: Path, questions: str, paragraphs: str) -> Retrieval:
    """XQuAD: questions in one language over the 240 paragraphs in another, which lie parallel."""
    asked, read = (
        json.loads((shared / f"retrieval/xquad/xquad.{lang}.json").read_text(encoding="utf-8"))["data"]
        for lang in (questions, paragraphs)
    )
    queries: list[str] = []
    right: list[set[int]] = []
    documents: list[str] = []
    for theirs, ours in zip(asked, read, strict=True):
        for question, paragraph in zip(theirs["paragraphs"], ours["paragraphs"], strict=True):
            for item in question["qas"]:
                queries.append(item["question"])
                right.append({len(documents)})
            documents.append(paragraph["context"])
    return Retrieval(queries, documents, right)


def scifact(shared: Path) -> Retrieval:
    """SciFact: the 300 claims and 5,183 abstracts of BEIR's test set, title and abstract in one text."""
    with zipfile.ZipFile(shared / "retrieval/scifact/scifact.zip") as archive:

        def table(end: str) -> list[dict[str, str]]:
            (name,) = (n for n in archive.namelist() if n.endswith(end) and not n.startswith("__"))
            return list(csv.DictReader(io.StringIO(archive.read(name).decode("utf-8"))))

        abstracts, claims = table("corpus_train.csv"), table("claims_validation.csv")
    documents = [f"{row['title']} {' '.join(ast.literal_eval(row['abstract']))}" for row in abstracts]
    place = {int(row["doc_id"]): index for index, row in enumerate(abstracts)}
    right: dict[str, set[int]] = {}
    for claim in claims:
        cited = {place[number] for number in _numbers(claim["cited_doc_ids"])}
        right.setdefault(claim["claim"], set()).update(cited)
    return Retrieval(list(right), documents, list(right.values()))


def _numbers(cell: str) -> list[int]:
    """The whole numbers of a cell like "[1 23]" or "[1, 23]"."""
    return [int(part) for part in cell.strip("[]").replace(",", " ").split()]


def cosqa(shared: Path) -> Retrieval:
    """CosQA: the 500 web queries of the test split over 6,267 Python functions."""
    folder = shared / "code/cosqa"
    functions = json.loads((folder / "code_idx_map.txt").read_text(encoding="utf-8"))
    rows = json.loads((folder / "cosqa-retrieval-test-500.json").read_text(encoding="utf-8"))
    place = {number: index for index, number in enumerate(functions.values())}
    return Retrieval([row["doc"] for row in rows], list(functions), [{place[row["retrieval_idx"]]} for row in rows])


def tatoeba(shared: Path, lang: str) -> tuple[list[str], list[str]]:
    """Tatoeba: sentences of a language ("cmn", "deu", "fra") and their English translations."""
    stem = f"bitext/tatoeba-laser/tatoeba.{lang}-eng."
    foreign, english = ((shared / f"{stem}{side}").read_text(encoding="utf-8").splitlines() for side in (lang, "eng"))
    return foreign, english


def thucnews(shared: Path) -> Labelled:
    """THUCNews: the 10,000 titles of the test split, 10 classes."""
    return _tabbed(shared / "class/thucnews-titles-zh/test.txt")


def tnews(shared: Path) -> Labelled:
    """TNEWS: the 10,000 titles of the development split (CLUE's test labels are not public), 15 classes."""
    return _tabbed(shared / "class/tnews-toutiao-zh/dev.tsv")


def _tabbed(path: Path) -> Labelled:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if "\t" in line]
    return Labelled([row[0] for row in rows], [row[1] for row in rows])


def banking77(shared: Path, split: str) -> Labelled:
    """Banking77: customers' questions, 77 intents; "train" has 10,003, "test" 3,080."""
    with (shared / f"class/banking77/{split}.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return Labelled([row["text"] for row in rows], [row["category"] for row in rows])
