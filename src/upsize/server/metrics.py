"""Prometheus metrics for `/metrics`. docs/api.md documents their names and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sqlite3 import Error

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from upsize.compute import LoadedModel
from upsize.engine import Engine, Result
from upsize.index import Indexes

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """The service's counters and histograms. It is the engine's Observer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"upsize_{name}", what, labels, registry=self.registry)

        def histogram(name: str, what: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"upsize_{name}", what, labels, buckets=buckets, registry=self.registry)

        self._requests = counter("requests", "HTTP requests by path and status.", "path", "status")
        self._request_seconds = histogram("request_seconds", "From the whole body to the reply.", ("path",), SECONDS)
        self._tokens = counter("tokens", "Tokens computed.", "model")
        self._truncated = counter("truncated_tokens", "Tokens cut off, where truncation was allowed.", "model")
        self._suspicious = counter("suspicious_inputs", "Lint findings in inputs, by kind.", "model", "kind")
        self._batch_tokens = histogram("batch_tokens", "Tokens of a batch.", ("model",), TOKENS)
        self._batch_sequences = histogram("batch_sequences", "Sequences of a batch.", ("model",), TOKENS)
        self._stages = {
            stage: histogram(f"{stage}_seconds", f"A request's time to {what}.", ("model",), SECONDS)
            for stage, what in (("tokenize", "tokenise"), ("queue", "wait"), ("compute", "compute"))
        }

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a reply."""
        self._requests.labels(path, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def result(self, model: str, result: Result) -> None:
        """Count a result of the engine."""
        for stage, histogram in self._stages.items():
            histogram.labels(model).observe(getattr(result.times, stage))
        if truncated := sum(result.truncated_tokens):
            self._truncated.labels(model).inc(truncated)

    def batch(self, model: str, sequences: int, tokens: int, seconds: float) -> None:  # noqa: ARG002 (an Observer's)
        """Count a batch."""
        self._tokens.labels(model).inc(tokens)
        self._batch_tokens.labels(model).observe(tokens)
        self._batch_sequences.labels(model).observe(sequences)

    def lint_finding(self, model: str, kind: str) -> None:
        """Count a lint finding."""
        self._suspicious.labels(model, kind).inc()

    def watch(self, engine: Engine, models: Mapping[str, LoadedModel], indexes: Indexes) -> None:
        """Read the engine's queues and rates, and the sizes of the indexes, at every scrape."""
        self.registry.register(_EngineCollector(engine, models))
        self.registry.register(_IndexCollector(indexes))

    def page(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    """Gauges of the engine, read at every scrape."""

    def __init__(self, engine: Engine, models: Mapping[str, LoadedModel]) -> None:
        self._engine, self._models = engine, models

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One metric family for each gauge."""
        sequences = GaugeMetricFamily("upsize_queue_sequences", "Sequences that wait.", labels=["model"])
        tokens = GaugeMetricFamily("upsize_queue_tokens", "Tokens that wait.", labels=["model"])
        rate = GaugeMetricFamily("upsize_tokens_per_second", "Measured on the last batches.", labels=["model"])
        info = GaugeMetricFamily(
            "upsize_model_info", "1 for each model.", labels=["model", "kind", "dtype", "fingerprint"]
        )
        for name, model in self._models.items():
            waiting = self._engine.queue(name)
            sequences.add_metric([name], waiting[0])
            tokens.add_metric([name], waiting[1])
            rate.add_metric([name], self._engine.tokens_per_second(name))
            info.add_metric([name, model.checkpoint.kind, model.plan.precision, model.fingerprint.id], 1)
        return sequences, tokens, rate, info


class _IndexCollector(Collector):
    """Gauges of the open indexes, read at every scrape."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One metric family for each gauge."""
        documents = GaugeMetricFamily("upsize_index_documents", "Documents of an index.", labels=["index"])
        of_generation = ["index", "generation", "model"]
        missing = GaugeMetricFamily("upsize_index_missing", "Documents that a generation lacks.", labels=of_generation)
        active = GaugeMetricFamily("upsize_index_active", "1 for the generation that answers.", labels=of_generation)
        for index in self._indexes.opened():
            try:
                documents.add_metric([index.name], index.documents.count())
                for generation in index.state.generations:
                    labels = [index.name, generation.id, generation.model]
                    missing.add_metric(labels, index.documents.backlog_size(generation.id))
                    active.add_metric(labels, generation.id == index.state.active)
            except Error:  # the index was closed or dropped meanwhile
                continue
        return documents, missing, active
