"""Twenty searches as a person would type them, over the package's hundred texts: what came back.

usage: python -m benchmarks.searches        # writes benchmarks/results/searches.json

What answers each search was decided by reading the texts, before any model was asked. One was marked wrongly (a phone's
price for the date of an exam), which showed when a model found the right one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, write
from upsize import Embedder, Reranker
from upsize.demo import corpus

SEARCHES: dict[str, tuple[str, ...]] = {  # → the texts that answer it, either language
    "how do plants make food": ("en-05", "zh-05"),
    "forgot my password": ("en-03", "zh-03"),
    "why does bread dough rise": ("en-02", "zh-02"),
    "card declined when paying online": ("en-19", "zh-18"),
    "send back something i bought": ("en-08", "zh-08"),
    "undo a commit git": ("en-31", "zh-28"),
    "what causes high and low tide": ("en-36", "zh-30"),
    "deaf composer symphony": ("en-12", "zh-12"),
    "moving out of my flat, how much notice": ("en-25", "zh-23"),
    "why is everything getting more expensive": ("en-29", "zh-26"),
    "怎么退货": ("zh-08", "en-08"),
    "发烧多少度要去看医生": ("zh-37", "en-44"),
    "房贷利率会变吗": ("zh-06", "en-06"),
    "铁为什么会生锈": ("zh-11", "en-11"),
    "谁统一了中国": ("zh-32",),
    "高考是什么时候": ("zh-44",),
    "足球什么算越位": ("zh-22", "en-23"),
    "股市今天为什么涨": ("zh-41",),
    "python 列表怎么排序": ("zh-27", "en-30"),
    "过年有什么习俗": ("zh-50",),
}
SHOWN, RERANKED = 3, 10


def measure(embedder: str = "demo-m", reranker: str = "demo-rerank", folder: Path = RESULTS) -> Path:
    """Search with the embedder alone, and with its best texts reranked."""
    texts = {row.id: row.text for row in corpus()}
    ids = list(texts)
    found: list[dict[str, object]] = []
    firsts: list[int] = []
    again_firsts: list[int] = []
    with Embedder(embedder) as model, Reranker(reranker) as judge:
        scores = model.encode_query(list(SEARCHES)) @ model.encode_document(list(texts.values())).T
        for (search, right), row in zip(SEARCHES.items(), scores, strict=True):
            order = [ids[i] for i in np.argsort(-row)]
            top = order[:RERANKED]
            best = judge.rank(search, [texts[i] for i in top])
            again = [top[hit.index] for hit in best]
            firsts.append(1 + min(map(order.index, right)))
            again_firsts.append(1 + min((again.index(i) for i in right if i in again), default=RERANKED))
            found.append(
                {
                    "search": search,
                    "answers": right,
                    "first_answer": firsts[-1],
                    "first_answer_reranked": again_firsts[-1],
                    "found": [
                        {"id": i, "score": round(float(row[ids.index(i)]), 3), "text": texts[i]} for i in order[:SHOWN]
                    ],
                    "found_reranked": again[:SHOWN],
                }
            )
    summary = {
        "searches_answered_first": sum(place == 1 for place in firsts),
        f"searches_answered_among_the_first_{SHOWN}": sum(place <= SHOWN for place in firsts),
        "searches_answered_first_when_reranked": sum(place == 1 for place in again_firsts),
    }
    return write(
        "searches",
        {"embedder": embedder, "reranker": reranker, "n": len(found)} | summary | {"searches": found},
        folder,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.searches", description=__doc__)
    parser.add_argument("--embedder", default="demo-m")
    parser.add_argument("--reranker", default="demo-rerank")
    args = parser.parse_args()
    measure(args.embedder, args.reranker)
