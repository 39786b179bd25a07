"""What an add and a search cost as an index grows, from a thousand documents to a million.

The whole way: embedding, journal, documents, vectors. Texts are generated beyond what real data there is; the cost does
not depend on what they say.

usage: python -m benchmarks.growth [--largest 1000000] [--model demo-xs]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.common import RESULTS, write
from benchmarks.texts import OBJECTS, SUBJECTS, VERBS, sentences
from upsize.engine import Engine, Priority
from upsize.index import DocumentWrite, Index, ModelPool, SearchRequest, Setup, VectorSpec
from upsize.index.creation import create_index

CALL = 2048
SINGLES, SEARCHES = 50, 200


def text(number: int) -> str:
    """A short text that no other number has."""
    subject, verb, what = (part[number // k % len(part)] for part, k in ((SUBJECTS, 1), (VERBS, 7), (OBJECTS, 53)))
    return f"{subject} {verb} {what} number {number}"


def measure(largest: int = 1_000_000, model: str = "demo-xs", folder: Path = RESULTS) -> Path:
    """Grow by tens, and look at each size."""
    engine = Engine({})
    sizes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home:
        models = ModelPool(engine)
        create_index(Path(home) / "growing", models, Setup("growing", VectorSpec(model)))
        with Index(Path(home) / "growing", models) as index:
            count, size = 0, 1000
            with tqdm(total=largest, unit="text") as bar:
                while size <= largest:
                    begun, before = time.perf_counter(), count
                    while count < size:
                        number = min(CALL, size - count)
                        documents = [DocumentWrite(f"d{i}", text(i), {"n": i}) for i in range(count, count + number)]
                        index.add(documents, Priority.BULK)
                        count += number
                        bar.update(number)
                    rate = (count - before) / (time.perf_counter() - begun)
                    sizes.append(_look(index, count) | {"adds_per_second": round(rate)})
                    size *= 10
            began = time.perf_counter()
        with Index(Path(home) / "growing", models) as index:
            opened = time.perf_counter() - began
            index.search(SearchRequest("the long bridge"))
    engine.close()
    return write(
        "growth",
        {"model": model, "sizes": sizes, "slopes": _slopes(sizes), "closing_and_opening_s": round(opened, 2)},
        folder,
    )


def _look(index: Index, count: int) -> dict[str, Any]:
    index.reconciler.step()
    asked = iter(sentences(1, SEARCHES))
    search = _times(SEARCHES, lambda _: index.search(SearchRequest(next(asked), k=10)))
    one = _times(SINGLES, lambda i: index.add([DocumentWrite(f"d{i * 17 % count}", f"Changed at {count}: {i}.")]))
    many = _times(
        5,
        lambda i: index.add(
            [DocumentWrite(f"d{(i * 256 + j) % count}", f"Again at {count}: {i} {j}.") for j in range(256)]
        ),
    )
    gone = _times(5, lambda i: index.delete([f"d{(i * 31 + 7) % count}"]))
    for i in range(5):
        place = (i * 31 + 7) % count
        index.add([DocumentWrite(f"d{place}", text(place), {"n": place})])
    told = index.status()["generations"][0]
    folder = index.folder
    return {
        "documents": count,
        "approximate": told["approximate"],
        "search_ms": search,
        "add_one_ms": one,
        "add_256_ms": many,
        "delete_one_ms": gone,
        "vector_bytes_each": round(told["bytes"] / count, 1),
        "journal_bytes_each": round(sum(p.stat().st_size for p in (folder / "journal").iterdir()) / count, 1),
        "documents_bytes_each": round((folder / "documents.sqlite").stat().st_size / count, 1),
    }


def _times(number: int, work: Callable[[int], object]) -> dict[str, float]:
    seconds = []
    for i in range(number):
        begun = time.perf_counter()
        work(i)
        seconds.append(time.perf_counter() - begun)
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1e3
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def _slopes(sizes: list[dict[str, Any]]) -> dict[str, float]:
    """Of the logarithm of the median over the logarithm of the documents: 0 does not grow, 1 grows in proportion."""
    if len(sizes) < 2:
        return {}
    counts = np.log10([s["documents"] for s in sizes])
    names = ("search_ms", "add_one_ms", "add_256_ms", "delete_one_ms")
    return {n: round(float(np.polyfit(counts, np.log10([s[n]["p50"] for s in sizes]), 1)[0]), 3) for n in names}


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--model", default="demo-xs")
    arguments = parser.parse_args()
    measure(arguments.largest, arguments.model)


if __name__ == "__main__":
    main()
