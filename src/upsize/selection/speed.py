"""Speed of candidates: latency under the user's load, through an engine in this process, and peak memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from upsize.engine import EmbedRequest, Engine, RerankRequest
from upsize.io.atomic import write_atomic
from upsize.model import Truncation
from upsize.progress import ProgressBar
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.load_generator import Answer, chain_futures, disturbed, measure_latency
from upsize.selection.memory import peak_bytes
from upsize.selection.run import config_digest
from upsize.selection.tokenization import TokenizedTexts
from upsize.selection.verdict import Latency, from_plain

WARM_UP = 5
"""Queries answered before any is timed; chosen."""
METHOD = 2
"""Version of the method. A latency on disk that was measured by another method is measured again."""
QUERY_STREAM = 7
"""Distinguishes the random stream that draws queries from others with the user's seed."""


@dataclass(frozen=True)
class LoadTest:
    """Which load is offered, and for how long."""

    rate: float
    """Queries a second."""
    seconds: float
    seed: int
    device: str
    data: str
    """Digest of the dataset, whose texts are the queries."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Quantile → limit in milliseconds. A disturbed run beyond it is repeated."""


@dataclass(frozen=True)
class Reranking:
    """The second stage of a query under load."""

    name: str
    """The reranker's name in the engine."""
    pairs: Callable[[int], tuple[str, Sequence[str]]]
    """Index of a query → its text, and the documents of the first stage, best first."""
    depth: int | None
    instruction: str | None


class SpeedStore:
    """Measures latencies and peak memory, and keeps them in `folder`, so that each is measured once."""

    def __init__(self, folder: Path, test: LoadTest, progress: bool) -> None:
        self._folder, self._test, self._progress = folder, test, progress
        self._measured: set[Path] = set()
        """Latencies of this run: they are not measured again in it, disturbed or not."""

    def latency(self, candidate: Candidate) -> Latency | None:
        """The candidate's latency, if it was measured."""
        found = self._read(self._latency_path(candidate))
        return None if found is None else from_plain(Latency, found)

    def due(self, candidate: Candidate) -> bool:
        """Whether the latency is still to be measured: there is none, or that of an earlier run was disturbed."""
        found = self.latency(candidate)
        return found is None or (disturbed(found.at_rate) and self._latency_path(candidate) not in self._measured)

    def measure_latency(
        self, candidate: Candidate, engine: Engine, embedder: str, queries: TokenizedTexts, reranking: Reranking | None
    ) -> Latency:
        """Offer the load to `engine` and keep the latency. Each arrival asks a random text of `queries`. Of two
        disturbed measurements the better is kept. `embedder` is the model's name in the engine."""
        test = self._test
        order = np.random.default_rng([test.seed, QUERY_STREAM]).integers(0, len(queries), 1 << 16)

        def send(arrival: int) -> Answer:
            index = int(order[arrival % len(order)])
            request = EmbedRequest([queries[index].tolist()], truncation=Truncation(True))
            steps: list[Callable[[], Future[Any]]] = [lambda: engine.submit(embedder, request)]
            if reranking is not None:
                query, documents = reranking.pairs(index)
                texts = documents[: reranking.depth]
                rerank = RerankRequest(query, texts, reranking.instruction, Truncation(True))
                steps.append(lambda: engine.submit(reranking.name, rerank))
            return chain_futures(steps)

        for arrival in range(WARM_UP):
            send(arrival).result()
        found = measure_latency(
            send,
            test.rate,
            seconds=test.seconds,
            seed=test.seed,
            limits=test.limits,
            label=candidate.id,
            progress=self._progress,
        )
        path, earlier = self._latency_path(candidate), self.latency(candidate)  # an earlier one was disturbed
        if earlier is not None and disturbed(found.at_rate) and _badness(earlier) <= _badness(found):
            found = earlier
        self._write(path, asdict(found))
        self._measured.add(path)
        return found

    def peak_memory(self, model: CandidateModel, lengths: Sequence[int]) -> int:
        """Peak bytes of the model for texts of `lengths` tokens, longest first."""
        config = {"model": model.name, "precision": model.precision, "n": list(lengths)}
        path = self._folder / f"memory-{config_digest(config)}.json"
        found = self._read(path)
        if found is None:
            with ProgressBar(f"{model.name}: peak memory", show=self._progress):
                found = {"peak": peak_bytes(model.source, model.precision, lengths, self._test.device)}
            self._write(path, found)
        return int(found["peak"])

    def _latency_path(self, candidate: Candidate) -> Path:
        """Its name has a digest of all that shapes the latency; limits do not."""
        test = {name: value for name, value in asdict(self._test).items() if name != "limits"}
        weights = [model.checkpoint.identity for model in candidate.models]
        config = {"method": METHOD, "pair": list(candidate.latency_key), "weights": weights, **test}
        return self._folder / f"latency-{config_digest(config)}.json"

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(value, indent=2).encode() + b"\n")


def _badness(latency: Latency) -> tuple[bool, float]:
    return not latency.at_rate.kept_up, latency.at_rate.p95.estimate
