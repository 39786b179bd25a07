"""The scores of the finished models on test splits, with reference lines, written to `scores.json`."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from tokenizers import Tokenizer

from . import evaluate
from .batches import Encoder
from .network import SIZES, load
from .prompts import SYMMETRIC_TASK, query_text
from .teacher import Teacher
from .train_reranker import Reranker

DIMENSIONS = (32, 64, 128)
RERANK_DEPTH = 20
RERANK_QUERIES = 100  # of the 1,190 of each language, drawn with evaluate.SEED: the rest would take an hour


def tf_idf(texts: Sequence[str], others: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit TF-IDF vectors of character 2- to 4-grams, fitted on both lists."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    vectorizer.fit([*texts, *others])
    return vectorizer.transform(texts), vectorizer.transform(others)


def bm25(queries: list[str], documents: list[str], lang: str) -> np.ndarray:
    """BM25 (k1 = 1.2, b = 0.75; Robertson and Zaragoza 2009) over words, in Chinese over characters and their pairs."""
    kind = {"analyzer": "char", "ngram_range": (1, 2)} if lang == "zh" else {"token_pattern": r"(?u)\b\w+\b"}
    vectorizer = CountVectorizer(**kind)
    counts = vectorizer.fit_transform(documents).toarray().astype(np.float64)
    lengths = counts.sum(1, keepdims=True)
    found = (counts > 0).sum(0)
    weight = np.log(1 + (len(documents) - found + 0.5) / (found + 0.5))
    scored = weight * counts * 2.2 / (counts + 1.2 * (0.25 + 0.75 * lengths / lengths.mean()))
    return (vectorizer.transform(queries) > 0).astype(np.float64) @ scored.T


def cut(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """The first values of every vector, of length one again."""
    part = vectors[:, :dimension]
    return part / np.linalg.norm(part, axis=1, keepdims=True)


def mean_of(values: np.ndarray) -> dict:
    """Mean with its bootstrap interval."""
    return evaluate.bootstrap(len(values), lambda chosen: float(values[chosen].mean()))


def similarity(encoder: Encoder, shared: Path, report: dict[str, dict]) -> None:
    """STS-B test, no instruction unless said: the model, its cut vectors, the references."""
    for lang in ("en", "zh"):
        a, b, gold = evaluate.sts_b(shared, lang, "test")
        name = f"STS-B {lang} test, Spearman"
        plain = encoder.encode(a), encoder.encode(b)
        report[name] = evaluate.spearman(*plain, gold)
        for dimension in DIMENSIONS:
            report[f"{name}, {dimension} dimensions"] = evaluate.spearman(*(cut(v, dimension) for v in plain), gold)
        told = [encoder.encode([query_text(text, SYMMETRIC_TASK) for text in side]) for side in (a, b)]
        report[f"{name}, symmetric instruction on both sides"] = evaluate.spearman(*told, gold)
        first, second = (matrix.toarray() for matrix in tf_idf(a, b))
        report[f"{name}, reference: TF-IDF of character 2-4-grams"] = evaluate.spearman(first, second, gold)
    a, b, gold = evaluate.sts_b(shared, "en", "test")
    teacher = Teacher()
    report["STS-B en test, Spearman, reference: the teacher"] = evaluate.spearman(
        teacher.encode(a), teacher.encode(b), gold
    )


def retrieval(encoder: Encoder, shared: Path, report: dict[str, dict]) -> dict[str, tuple]:
    """XQuAD questions behind the default instruction against its 240 paragraphs; returns what the reranker needs."""
    sets: dict[str, tuple] = {}
    vectors: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for lang in ("en", "zh"):
        questions, paragraphs, answers = evaluate.squad_style(shared / f"retrieval/xquad/xquad.{lang}.json")
        name = f"XQuAD {lang}, nDCG@10"
        vectors[lang] = encoder.encode([query_text(q) for q in questions]), encoder.encode(paragraphs)
        first = vectors[lang][0] @ vectors[lang][1].T
        sets[lang] = questions, paragraphs, answers, first
        report[name] = mean_of(evaluate.rank(first, answers))
        for dimension in DIMENSIONS:
            q, p = (cut(side, dimension) for side in vectors[lang])
            report[f"{name}, {dimension} dimensions"] = mean_of(evaluate.rank(q @ p.T, answers))
        q, p = tf_idf(questions, paragraphs)
        report[f"{name}, reference: TF-IDF of character 2-4-grams"] = mean_of(
            evaluate.rank((q @ p.T).toarray(), answers)
        )
        report[f"{name}, reference: BM25"] = mean_of(evaluate.rank(bm25(questions, paragraphs, lang), answers))
    questions, paragraphs, answers, _ = sets["en"]
    teacher = Teacher()
    teacher.tokenizer.enable_truncation(256)
    scores = teacher.encode(questions) @ teacher.encode(paragraphs).T
    report["XQuAD en, nDCG@10, reference: the teacher"] = mean_of(evaluate.rank(scores, answers))
    crossed = vectors["zh"][0] @ vectors["en"][1].T
    report["XQuAD zh question to en paragraph, nDCG@10"] = mean_of(evaluate.rank(crossed, sets["zh"][2]))
    return sets


def bitext(encoder: Encoder, shared: Path, report: dict[str, dict]) -> None:
    """Tatoeba: share of sentences whose translation is the nearest of the other side."""
    foreign, english = evaluate.tatoeba(shared)
    scores = encoder.encode(foreign) @ encoder.encode(english).T
    right = np.arange(len(foreign))
    report["Tatoeba zh to en, accuracy"] = mean_of((scores.argmax(1) == right).astype(float))
    report["Tatoeba en to zh, accuracy"] = mean_of((scores.argmax(0) == right).astype(float))


def reranking(reranker: Reranker, sets: dict[str, tuple], report: dict[str, dict]) -> None:
    """nDCG@10 over the embedder's top 50, the embedder alone, and the paired difference."""
    for lang, (questions, paragraphs, answers, first) in sets.items():
        chosen = np.sort(np.random.default_rng(evaluate.SEED).permutation(len(questions))[:RERANK_QUERIES])
        right = [answers[i] for i in chosen]
        alone = evaluate.rank(first[chosen], right)
        ordered = evaluate.rerank(reranker, [questions[i] for i in chosen], paragraphs, first[chosen], RERANK_DEPTH)
        after = evaluate.rank(ordered, right)
        name = f"XQuAD {lang}, nDCG@10, top {RERANK_DEPTH} of demo-s"
        report[name] = mean_of(after)
        report[f"{name}, not reranked"] = mean_of(alone)
        report[f"{name}, difference"] = mean_of(after - alone)
        print(name, report[name], report[f"{name}, difference"], flush=True)


def transformers_agree(embedder: Path, reranker: Path | None) -> dict[str, float]:
    """Largest differences between this folder's network and transformers on the same checkpoint, in float32."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    texts = ["What is the capital of China?", "北京是中国的首都。", query_text("why is the sky blue?")]
    tokenizer = AutoTokenizer.from_pretrained(embedder)
    model = AutoModel.from_pretrained(embedder, dtype=torch.float32).eval()
    ours = Encoder(load(embedder, SIZES["s"]), Tokenizer.from_file(str(embedder / "tokenizer.json"))).encode(texts)
    result = {"embedding": 0.0}
    with torch.inference_mode():
        for text, vector in zip(texts, ours, strict=True):
            state = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, -1]
            theirs = torch.nn.functional.normalize(state, dim=0).numpy()
            result["embedding"] = max(result["embedding"], float(np.abs(theirs - vector).max()))
        if reranker:
            judge = Reranker(load(reranker, SIZES["s"]), Tokenizer.from_file(str(reranker / "tokenizer.json")))
            causal = AutoModelForCausalLM.from_pretrained(reranker, dtype=torch.float32).eval()
            template = judge.template
            start = template.start("Judge", texts[0])
            ids = [start + template.document(document, 99) + template.suffix for document in texts]
            logits = [causal(torch.tensor([row])).logits[0, -1] for row in ids]
            theirs = np.array([float(row[template.yes] - row[template.no]) for row in logits])
            result["log-odds"] = float(np.abs(theirs - judge.score(texts[0], texts, "Judge")).max())
    return result


def run(shared: Path, embedder: Path, reranker: Path | None, path: Path) -> None:
    """Score what is on disk and write the report to `path`."""
    encoder = Encoder(load(embedder, SIZES["s"]), Tokenizer.from_file(str(embedder / "tokenizer.json")))
    report: dict[str, dict] = {}
    similarity(encoder, shared, report)
    sets = retrieval(encoder, shared, report)
    bitext(encoder, shared, report)
    for name, value in report.items():
        print(name, value, flush=True)
    judged: dict[str, dict] = {}
    if reranker:
        judge = Reranker(load(reranker, SIZES["s"]), Tokenizer.from_file(str(reranker / "tokenizer.json")))
        reranking(judge, sets, judged)
    agree = transformers_agree(embedder, reranker)
    print("largest difference to transformers:", agree, flush=True)
    result = {"embedding": report, "reranker": judged, "difference_to_transformers": agree}
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
