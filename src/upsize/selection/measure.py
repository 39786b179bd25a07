"""Stage 3 of a choice: quality unit by unit, latency under open-loop load, peak memory. Everything is resumable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np

from upsize.compute import LoadedModel
from upsize.progress import duration
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.feasibility import embedding_seconds, estimated_memory, scoring_seconds
from upsize.selection.inference import ModelCache, embed_texts, unlimited_engine
from upsize.selection.quality import QualityStore, ranking_task, rerank_instruction
from upsize.selection.speed import LoadTest, Reranking, SpeedStore
from upsize.selection.types import CandidateMeasurement, EstimatedChoice, MeasuredChoice, PreparedChoice

LONGEST_TEXTS = 64
"""Texts that a model's peak memory is measured with, the longest of the data; chosen: several full batches."""
LOAD_TIME_FACTOR = 4.0
"""A candidate's load takes this times the seconds at the user's rate: the sweep to the knee doubles the rate some six
times, for half as long each."""


def measure(
    prepared: PreparedChoice,
    estimated: EstimatedChoice,
    *,
    progress: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> MeasuredChoice:
    """Measure every feasible candidate, and skip what is already in `settings.out`.

    Each embedder embeds the texts, is timed alone, and then beside each reranker. Peak memory is measured at the end,
    in processes of their own, when no model is loaded here.
    """
    settings = prepared.settings
    quality = QualityStore(settings.out, prepared.task, prepared.groups, prepared.digest, settings.instruction)
    test = LoadTest(
        settings.rate, settings.seconds, settings.seed, settings.device, prepared.digest, dict(settings.slo)
    )
    speeds = SpeedStore(settings.out / "work" / "speed", test, progress)
    log(remaining_work(prepared, estimated, quality, speeds))
    _run_models(prepared, estimated, quality, speeds, progress)
    return MeasuredChoice(
        tuple(
            CandidateMeasurement(
                candidate,
                quality.find_run(candidate) or quality.write_run(candidate),
                quality.vector_store(candidate.model, prepared.document_group).cost,
                speeds.latency(candidate) if settings.speed else None,
                _peak_memory(prepared, candidate, speeds) if settings.speed else None,
            )
            for candidate in estimated.feasible
        )
    )


def remaining_work(
    prepared: PreparedChoice, estimated: EstimatedChoice, quality: QualityStore, speeds: SpeedStore
) -> str:
    """A sentence: texts to embed, pairs to score, candidates to put under load, and about how long that takes where
    the machine's rates are known."""
    texts = pairs = loads = 0
    seconds, rates = 0.0, estimated.capacity.rates
    for model in dict.fromkeys(c.model for c in estimated.feasible):
        for name, group in prepared.groups.items():
            left = len(group.texts) - quality.vector_store(model, name).cost.rows
            texts += left
            if rates:
                tokens = float(prepared.tokens[model][name].lengths(model.checkpoint.context).sum())
                seconds += embedding_seconds(model, tokens * left / max(len(group.texts), 1), rates)
    for c in estimated.feasible:
        if c.reranker and c.depth and quality.find_run(c) is None:
            count = len(prepared.task.units) * c.depth
            pairs += count
            seconds += scoring_seconds(c.reranker, count, prepared.workload.pair_tokens, rates) if rates else 0.0
    if prepared.settings.speed:
        loads = len({c.latency_key for c in estimated.feasible if speeds.due(c)})
        seconds += loads * LOAD_TIME_FACTOR * prepared.settings.seconds
    parts = [f"{texts:,} texts to embed"] if texts else []
    parts += [f"up to {pairs:,} pairs to score"] if pairs else []
    parts += [f"{loads:,} candidate{'s' * (loads > 1)} to put under load"] if loads else []
    if not parts:
        return "All is measured already."
    return f"{', '.join(parts)}{f', about {duration(seconds)} on this machine' if rates else ''}."


def _run_models(
    prepared: PreparedChoice, estimated: EstimatedChoice, quality: QualityStore, speeds: SpeedStore, progress: bool
) -> None:
    """Everything that needs a loaded model, embedder by embedder."""
    settings, capacity = prepared.settings, estimated.capacity
    cache = ModelCache(
        settings.device,
        settings.hub,
        capacity.memory,
        lambda model: estimated_memory(model, prepared.workload, capacity.device),
    )
    for model in dict.fromkeys(c.model for c in estimated.feasible):
        candidates = [c for c in estimated.feasible if c.model is model]
        _embed(prepared, model, cache, quality, progress)
        _time_alone(prepared, model, [c for c in candidates if c.reranker is None], cache, speeds)
        for reranker in dict.fromkeys(c.reranker for c in candidates if c.reranker):
            reranked = [c for c in candidates if c.reranker is reranker]
            _score(prepared, reranker, reranked, cache, quality, progress)
            _time_reranked(prepared, model, reranker, reranked, cache, quality, speeds)
        cache.unload(model)


def _embed(
    prepared: PreparedChoice, model: CandidateModel, cache: ModelCache, quality: QualityStore, progress: bool
) -> None:
    """Vectors of every group that is not complete."""
    stores = {name: quality.vector_store(model, name) for name in prepared.groups}
    incomplete = [name for name, group in prepared.groups.items() if stores[name].cost.rows < len(group.texts)]
    if not incomplete:
        return
    (loaded,) = cache.get(model)
    with closing(unlimited_engine({model.name: loaded})) as engine:
        for name in incomplete:
            tokens, label = prepared.tokens[model][name], f"{model.name} {name}"
            embed_texts(stores[name], engine, model.name, tokens, label=label, progress=progress)


def _time_alone(
    prepared: PreparedChoice,
    model: CandidateModel,
    candidates: Sequence[Candidate],
    cache: ModelCache,
    speeds: SpeedStore,
) -> None:
    """Latency without a reranker. It is the same for every dimension."""
    if not prepared.settings.speed or not candidates or not speeds.due(candidates[0]):
        return
    (loaded,) = cache.get(model)
    queries = prepared.tokens[model][prepared.query_group]
    with closing(unlimited_engine({model.name: loaded})) as engine:
        speeds.measure_latency(candidates[0], engine, model.name, queries, None)


def _score(
    prepared: PreparedChoice,
    reranker: CandidateModel,
    candidates: Sequence[Candidate],
    cache: ModelCache,
    quality: QualityStore,
    progress: bool,
) -> None:
    """Scores of all pairs that the first stages of `candidates` rank high enough."""
    unscored = [c for c in candidates if quality.find_run(c) is None]
    if not unscored:
        return
    task, instruction = ranking_task(prepared.task), rerank_instruction(prepared.groups)
    scores = quality.score_store(reranker)
    (loaded,) = cache.get(reranker)
    with closing(unlimited_engine({reranker.name: loaded})) as engine:
        for c in unscored:
            ranking = quality.ranking(c)[:, : c.depth]
            scores.score(engine, reranker.name, task, ranking, instruction, label=c.id, progress=progress)


def _time_reranked(
    prepared: PreparedChoice,
    model: CandidateModel,
    reranker: CandidateModel,
    candidates: Sequence[Candidate],
    cache: ModelCache,
    quality: QualityStore,
    speeds: SpeedStore,
) -> None:
    """Latency of each depth, embedder and reranker in one engine."""
    due = {c.depth: c for c in candidates if prepared.settings.speed and speeds.due(c)}
    if not due:
        return
    task, instruction = ranking_task(prepared.task), rerank_instruction(prepared.groups)
    queries = prepared.tokens[model][prepared.query_group]
    loaded: tuple[LoadedModel, ...] = cache.get(model, reranker)
    for c in due.values():
        ranking = quality.ranking(c)
        reranking = Reranking(
            "reranker",
            lambda index, ranking=ranking: task.pairs(ranking, index),  # type: ignore[misc]
            c.depth,
            instruction,
        )
        with closing(unlimited_engine(dict(zip(("embedder", "reranker"), loaded, strict=True)))) as engine:
            speeds.measure_latency(c, engine, "embedder", queries, reranking)


def _peak_memory(prepared: PreparedChoice, candidate: Candidate, speeds: SpeedStore) -> int:
    return sum(speeds.peak_memory(model, _longest_lengths(prepared, model)) for model in candidate.models)


def _longest_lengths(prepared: PreparedChoice, model: CandidateModel) -> list[int]:
    """Lengths of the LONGEST_TEXTS longest texts in tokens, longest first."""
    source = model if model.checkpoint.kind == "embedding" else prepared.models[0]
    groups = prepared.tokens[source].values()
    lengths = np.concatenate([tokens.lengths(source.checkpoint.context) for tokens in groups])
    return [int(n) for n in np.sort(lengths)[::-1][:LONGEST_TEXTS]]
