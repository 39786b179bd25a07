"""Speed of candidates: latency under the user's load, through the engine in this process, and peak memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from upsize.engine import EmbedRequest, Engine, RerankRequest
from upsize.model import Truncation
from upsize.progress import ProgressBar
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.load_generator import Answer, chain_futures, disturbed, measure_latency
from upsize.selection.memory import peak_bytes
from upsize.selection.run import config_digest, write_whole
from upsize.selection.tokenization import TokenizedTexts
from upsize.selection.verdict import Latency, rebuilt

WARM = 5
"""Queries answered before any is timed."""
METHOD = 2
"""Of measuring latency: what was measured otherwise, on disk from an earlier version, is measured again."""


@dataclass(frozen=True)
class LoadTest:
    """Which load, for how long."""

    rate: float
    seconds: float
    seed: int
    device: str
    data: str
    """Digest of the data that lengths come from."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Quantile → milliseconds that it may take: a run beyond that is repeated where something disturbed it."""


class Speeds:
    """Latencies and peaks, kept on disk below `folder`, so that they are measured once."""

    def __init__(self, folder: Path, wanted: LoadTest, progress: bool) -> None:
        self._folder, self._wanted, self._progress = folder, wanted, progress
        self._measured: set[Path] = set()
        """Latencies of this run: disturbed or not, they are not measured again in it."""

    def latency(self, candidate: Candidate) -> Latency | None:
        """Where it was measured already."""
        found = self._read(self._latency_path(candidate))
        return None if found is None else rebuilt(Latency, found)

    def due(self, candidate: Candidate) -> bool:
        """Whether its latency is still to be measured: there is none, or something disturbed that of an earlier run."""
        found = self.latency(candidate)
        return found is None or (disturbed(found.at_rate) and self._latency_path(candidate) not in self._measured)

    def measure_latency(
        self,
        candidate: Candidate,
        engine: Engine,
        names: tuple[str, str | None],
        queries: TokenizedTexts,
        pairs: Callable[[int], tuple[str, Sequence[str]]] | None,
        instruction: str | None,
    ) -> Latency:
        """Offer the load. A query is a text of the data, drawn at random; `names` are the engine's of embedder and
        reranker; `pairs` gives a query's text and the documents that the reranker is to see."""
        wanted, (embedder, reranker) = self._wanted, names
        order = np.random.default_rng([wanted.seed, 7]).integers(0, len(queries), 1 << 16)

        def send(arrival: int) -> Answer:
            place = int(order[arrival % len(order)])
            embedding = EmbedRequest([queries[place].tolist()], truncation=Truncation(True))
            then: list[Callable[[], Future[Any]]] = []
            if reranker is not None and pairs is not None:
                query, documents = pairs(place)
                request = RerankRequest(query, documents[: candidate.depth], instruction, Truncation(True))
                then.append(lambda: engine.submit(reranker, request))
            begin: Callable[[], Future[Any]] = lambda: engine.submit(embedder, embedding)  # noqa: E731
            return chain_futures(begin, then)

        for warm in range(WARM):
            send(warm).result()
        found = measure_latency(
            send,
            wanted.rate,
            seconds=wanted.seconds,
            seed=wanted.seed,
            limits=wanted.limits,
            label=candidate.id,
            progress=self._progress,
        )
        before = self.latency(candidate)  # where there is one, it was disturbed, as this one may be too
        if before is not None and disturbed(found.at_rate) and _badness(before) <= _badness(found):
            found = before
        self._write(self._latency_path(candidate), asdict(found))
        self._measured.add(self._latency_path(candidate))
        return found

    def peak(self, model: CandidateModel, lengths: Sequence[int]) -> int:
        """Bytes at most for texts of these lengths, longest first."""
        path = (
            self._folder
            / f"memory-{config_digest({'model': model.name, 'precision': model.precision, 'n': list(lengths)})}.json"
        )
        found = self._read(path)
        if found is None:
            with ProgressBar(f"{model.name}: peak memory", show=self._progress):
                found = {"peak": peak_bytes(model.asked, model.precision, lengths, self._wanted.device)}
            self._write(path, found)
        return int(found["peak"])

    def _latency_path(self, candidate: Candidate) -> Path:
        parts = [_weights(m) for m in (candidate.model, candidate.reranker) if m is not None]
        load = {k: v for k, v in asdict(self._wanted).items() if k != "limits"}  # they shape no latency
        told = {"method": METHOD, "pair": list(candidate.pair), "weights": parts, **load}
        return self._folder / f"latency-{config_digest(told)}.json"

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def _write(self, path: Path, value: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(value, indent=2).encode() + b"\n")


def _badness(latency: Latency) -> tuple[bool, float]:
    """Of two disturbed ones the better was disturbed less."""
    return not latency.at_rate.kept_up, latency.at_rate.p95.estimate


def _weights(model: CandidateModel) -> str:
    """What a name alone does not tell."""
    return model.checkpoint.identity
