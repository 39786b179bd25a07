"""Public test sets, laid out as users lay out theirs (docs/data.md), from the data folder beside the repository.

usage: python -m benchmarks.datasets OUT --shared ../shared/data

    OUT/xquad-zh, OUT/xquad-en   BEIR folders: 1,190 questions over 240 paragraphs, resampled by paragraph
    OUT/xquad-zh-en              the same questions in Chinese over the paragraphs in English
    OUT/scifact                  BEIR folder: 300 claims over 5,183 abstracts
    OUT/banking77                train.csv and test.csv of {text, label}: 77 intents
    OUT/thucnews.jsonl           10,000 Chinese news titles of 10 sections, {text, label}
    OUT/tnews.jsonl              10,000 Chinese news titles of 15 sections, {text, label}
    OUT/cosqa                    BEIR folder: 500 web queries over 6,267 Python functions
    OUT/stsb-zh.csv, …           1,379 pairs of {text1, text2, score}; zh, en, fr, de
    OUT/tatoeba-zh-en.jsonl, …   1,000 pairs of {text_a, text_b}; zh, de, fr
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import json
import tokenize
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def write_jsonl(path: Path, rows: Iterable[Row]) -> None:
    """One object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """With a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_beir(
    folder: Path, corpus: Iterable[Row], queries: Iterable[Row], judgements: Iterable[tuple[str, str, int]]
) -> None:
    """A BEIR folder with one split, `test`."""
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", queries)
    (folder / "qrels").mkdir(exist_ok=True)
    with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{query}\t{document}\t{grade}\n" for query, document, grade in judgements)


def xquad(shared: Path, out: Path) -> None:
    """Each question with its paragraph, which is also what questions are resampled by. Languages lie parallel."""

    def paragraphs(language: str) -> list[dict[str, Any]]:
        content = json.loads((shared / f"retrieval/xquad/xquad.{language}.json").read_text(encoding="utf-8"))
        return [paragraph for article in content["data"] for paragraph in article["paragraphs"]]

    for asked, read in (("zh", "zh"), ("en", "en"), ("zh", "en")):
        questions = [(f"p{i}", qa) for i, paragraph in enumerate(paragraphs(asked)) for qa in paragraph["qas"]]
        write_beir(
            out / (f"xquad-{read}" if asked == read else f"xquad-{asked}-{read}"),
            [{"_id": f"p{i}", "text": paragraph["context"]} for i, paragraph in enumerate(paragraphs(read))],
            [{"_id": qa["id"], "text": qa["question"], "document": place} for place, qa in questions],
            [(qa["id"], place, 1) for place, qa in questions],
        )


def _strings(array: str) -> list[str]:
    """The strings of a numpy array as it prints itself, in which no comma is between them."""
    tokens = tokenize.generate_tokens(io.StringIO(array).readline)
    return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]


def scifact(shared: Path, out: Path) -> None:
    """The 300 claims of BEIR's test set with the abstracts that they cite."""
    with zipfile.ZipFile(shared / "retrieval/scifact/scifact.zip") as archive:

        def rows(name: str) -> Iterator[dict[str, str]]:
            with archive.open(name) as file:
                yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))

        corpus = [
            {"_id": row["doc_id"], "title": row["title"], "text": " ".join(_strings(row["abstract"]))}
            for row in rows("corpus_train.csv")
        ]
        claims = list(rows("claims_validation.csv"))
    queries = {row["id"]: row["claim"] for row in claims}
    cited = {
        (row["id"], cited): None
        for row in claims
        for cited in row["cited_doc_ids"].strip("[]").replace(",", " ").split()
    }
    write_beir(
        out / "scifact",
        corpus,
        [{"_id": query, "text": text} for query, text in queries.items()],
        [(query, document, 1) for query, document in cited],
    )


def banking77(shared: Path, out: Path) -> None:
    """Two files, what to train on and what is judged."""
    for split in ("train", "test"):
        with (shared / f"class/banking77/{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = [{"text": row["text"], "label": row["category"]} for row in csv.DictReader(file)]
        write_csv(out / "banking77" / f"{split}.csv", rows)


def thucnews(shared: Path, out: Path) -> None:
    """Titles with the name of their section."""
    folder = shared / "class/thucnews-titles-zh"
    sections = (folder / "class.txt").read_text(encoding="utf-8").split()
    lines = (folder / "test.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.rsplit("\t", 1) for line in lines if line.strip()]
    write_jsonl(out / "thucnews.jsonl", [{"text": title, "label": sections[int(code)]} for title, code in pairs])


def tnews(shared: Path, out: Path) -> None:
    """Titles with the name of their section."""
    lines = (shared / "class/tnews-toutiao-zh/dev.tsv").read_text(encoding="utf-8").splitlines()
    pairs = [line.rsplit("\t", 1) for line in lines if line.strip()]
    write_jsonl(out / "tnews.jsonl", [{"text": title, "label": section} for title, section in pairs])


def cosqa(shared: Path, out: Path) -> None:
    """Web queries, each with the function that answers it, among all functions."""
    codes = json.loads((shared / "code/cosqa/code_idx_map.txt").read_text(encoding="utf-8"))
    rows = json.loads((shared / "code/cosqa/cosqa-retrieval-test-500.json").read_text(encoding="utf-8"))
    write_beir(
        out / "cosqa",
        [{"_id": f"c{place}", "text": code} for code, place in codes.items()],
        [{"_id": row["idx"], "text": row["doc"]} for row in rows],
        [(row["idx"], f"c{row['retrieval_idx']}", 1) for row in rows],
    )


def stsb(shared: Path, out: Path) -> None:
    """Pairs with a score of 0 to 5."""
    for language in ("zh", "en", "fr", "de"):
        with next((shared / "sts/stsb-multi-mt").glob(f"**/*{language}-test.csv")).open(
            encoding="utf-8", newline=""
        ) as file:
            rows = [{"text1": a, "text2": b, "score": score} for a, b, score in csv.reader(file)]
        write_csv(out / f"stsb-{language}.csv", rows)


def tatoeba(shared: Path, out: Path) -> None:
    """Sentences of a language and their English translations."""
    for language, code in (("zh", "cmn"), ("de", "deu"), ("fr", "fra")):
        sides = [
            (shared / f"bitext/tatoeba-laser/tatoeba.{code}-eng.{side}").read_text(encoding="utf-8").splitlines()
            for side in (code, "eng")
        ]
        rows = [{"text_a": a, "text_b": b} for a, b in zip(*sides, strict=True)]
        write_jsonl(out / f"tatoeba-{language}-en.jsonl", rows)


CONVERTERS: tuple[Callable[[Path, Path], None], ...] = (
    xquad, scifact, banking77, thucnews, tnews, cosqa, stsb, tatoeba,
)  # fmt: skip


def convert(out: Path, shared: Path) -> None:
    """Lay out all of them."""
    for converter in CONVERTERS:
        converter(shared, out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    convert(arguments.out, arguments.shared)
    print(*sorted(path.name for path in arguments.out.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
