"""Scores to watch during training, on development splits only; test splits are for `benchmarks.demo_family`."""

import csv
import json
from pathlib import Path
from typing import Protocol

import ir_measures
import numpy as np
from ir_measures import nDCG
from scipy.stats import spearmanr

from .batches import Encoder
from .prompts import query_text


class Scorer(Protocol):
    """What reranks: one score for each document of a query."""

    def score(self, query: str, documents: list[str]) -> np.ndarray: ...


def sts_b(shared: Path, lang: str, split: str) -> tuple[list[str], list[str], np.ndarray]:
    """First sentences, second sentences and gold scores."""
    with (shared / f"sts/stsb-multi-mt/stsb-{lang}-{split}.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.reader(lines) if len(row) == 3]
    return [row[0] for row in rows], [row[1] for row in rows], np.array([float(row[2]) for row in rows])


def squad_style(path: Path) -> tuple[list[str], list[str], list[int]]:
    """Questions, distinct paragraphs, and which paragraph answers each question."""
    questions, paragraphs, answers = [], {}, []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            number = paragraphs.setdefault(paragraph["context"], len(paragraphs))
            for item in paragraph["qas"]:
                questions.append(item["question"])
                answers.append(number)
    return questions, list(paragraphs), answers


def rank(scores: np.ndarray, answers: list[int]) -> np.ndarray:
    """nDCG@10 of each query of a score matrix (queries, passages) with one right passage a query."""
    run = {
        str(q): {str(p): float(row[p]) for p in np.argpartition(-row, min(50, len(row) - 1))[:50]}
        for q, row in enumerate(scores)
    }
    qrels = {str(q): {str(answer): 1} for q, answer in enumerate(answers)}
    values = {item.query_id: item.value for item in ir_measures.iter_calc([nDCG @ 10], qrels, run)}
    return np.array([values[str(q)] for q in range(len(scores))])


def development(encoder: Encoder, shared: Path, cut: int = 64) -> dict[str, float]:
    """Scores to watch during training: STS-B development split, CMRC trial questions, PubMedQA questions.

    Of the last two also the share that is left when vectors are cut to `cut` dimensions.
    """
    result = {}
    for lang in ("en", "zh"):
        a, b, gold = sts_b(shared, lang, "dev")
        cosines = (encoder.encode(a) * encoder.encode(b)).sum(1)
        result[f"sts-b {lang} dev"] = round(float(spearmanr(cosines, gold).statistic), 4)
    questions, paragraphs, answers = squad_style(shared / "retrieval/cmrc2018-zh/cmrc2018_trial.json")
    asked, texts = (
        encoder.encode([query_text(q) for q in questions[:400]]),
        encoder.encode([p[:400] for p in paragraphs]),
    )
    result |= _retrieval("cmrc trial", asked, texts, answers[:400], cut)
    papers = list(json.loads((shared / "retrieval/pubmedqa-labelled/ori_pqal.json").read_text()).values())[:250]
    abstracts = encoder.encode([" ".join(paper["CONTEXTS"])[:900] for paper in papers])
    asked = encoder.encode([query_text(paper["QUESTION"]) for paper in papers])
    return result | _retrieval("pubmedqa", asked, abstracts, list(range(len(papers))), cut)


def _retrieval(name: str, queries: np.ndarray, passages: np.ndarray, answers: list[int], cut: int) -> dict[str, float]:
    whole = float(rank(queries @ passages.T, answers).mean())
    short = [part[:, :cut] / np.linalg.norm(part[:, :cut], axis=1, keepdims=True) for part in (queries, passages)]
    kept = float(rank(short[0] @ short[1].T, answers).mean()) / whole
    return {name: round(whole, 4), f"{name} at {cut}": round(kept, 3)}


def rerank(reranker: Scorer, queries: list[str], documents: list[str], first: np.ndarray, depth: int) -> np.ndarray:
    """Scores (queries, documents) in which the `depth` best of `first` stand on top, ordered by the reranker."""
    result = first - 1e4
    for number, row in enumerate(first):
        top = np.argpartition(-row, depth - 1)[:depth]
        result[number, top] = reranker.score(queries[number], [documents[i] for i in top])
    return result


def development_rerank(reranker: Scorer, encoder: Encoder, shared: Path) -> dict[str, tuple[float, float]]:
    """nDCG@10 of the embedder alone and with its top 10 reranked, on questions of CMRC trial and PubMedQA."""
    questions, paragraphs, answers = squad_style(shared / "retrieval/cmrc2018-zh/cmrc2018_trial.json")
    papers = list(json.loads((shared / "retrieval/pubmedqa-labelled/ori_pqal.json").read_text()).values())[:250]
    sets = {
        "cmrc trial": (questions[:100], [p[:400] for p in paragraphs], answers[:100]),
        "pubmedqa": (
            [paper["QUESTION"] for paper in papers[:100]],
            [" ".join(paper["CONTEXTS"])[:900] for paper in papers],
            list(range(100)),
        ),
    }
    result = {}
    for name, (queries, documents, right) in sets.items():
        first = encoder.encode([query_text(query) for query in queries]) @ encoder.encode(documents).T
        second = rerank(reranker, queries, documents, first, 10)
        result[name] = (round(float(rank(first, right).mean()), 4), round(float(rank(second, right).mean()), 4))
    return result
