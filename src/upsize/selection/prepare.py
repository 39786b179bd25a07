"""Stage 1 of a choice: read the data, build the task, open the candidates, count their tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import Dataset, load_dataset
from upsize.evaluation.tasks import Group, RankingTask, Task, UnjudgedTask, task_of
from upsize.model import RerankPrompts, Truncation
from upsize.model.encoding import encode_pairs
from upsize.selection.candidates import CandidateModel, candidates_of, open_models, smallest_first
from upsize.selection.quality import dataset_digest, ranking_task, rerank_instruction
from upsize.selection.settings import ChoiceSettings
from upsize.selection.tokenization import TokenizedTexts, tokenize_groups
from upsize.selection.types import PreparedChoice, Workload

SAMPLED_PAIRS = 200
"""Pairs that the mean length of a reranked pair is estimated from; chosen: its standard error is then some per cent."""

Tokens = Mapping[CandidateModel, Mapping[str, TokenizedTexts]]


def prepare(
    settings: ChoiceSettings, *, progress: bool = False, log: Callable[[str], None] = lambda _: None
) -> PreparedChoice:
    """Read and check everything that the choice is made from. No weights are read and no file is written.

    Raises InvalidInput for data without judgements or of a single cluster, CheckpointError and HubError for models.
    """
    dataset, task = _task(settings)
    log(f"{dataset.name}: {task.name}, {len(task.units):,} units, by {task.metric.name}.")
    for note in (*dataset.notes, *task.lint):
        log(note)
    models = open_models(settings.models, "embedding", settings.precisions, settings.hub)
    if settings.rerankers:
        ranking_task(task)
    rerankers = open_models(settings.rerankers, "reranker", ("auto",), settings.hub)
    candidates, notes = candidates_of(models, settings.dims, rerankers, settings.depths)
    for note in notes:
        log(note)
    groups = task.groups()
    query_group = next(iter(groups))
    document_group = next((name for name in ("corpus", "documents") if name in groups), query_group)
    tokens = tokenize_groups(groups, models, progress=progress)
    pair_tokens = _mean_pair_tokens(rerankers[0], task, groups, document_group, settings.seed) if rerankers else 0.0
    workload = _workload(settings, groups, tokens[models[0]], models[0], query_group, document_group, pair_tokens)
    return PreparedChoice(
        settings=settings,
        dataset=dataset,
        digest=dataset_digest(dataset),
        task=task,
        groups=groups,
        query_group=query_group,
        document_group=document_group,
        models=tuple(models),
        candidates=tuple(smallest_first(candidates, workload.query_tokens, pair_tokens)),
        tokens=tokens,
        workload=workload,
        notes=(*dataset.notes, *_truncation_notes(tokens)),
    )


def _task(settings: ChoiceSettings) -> tuple[Dataset, Task]:
    dataset = load_dataset(
        settings.data,
        settings.kind,
        fields=settings.fields,
        slices=settings.slices,
        split=settings.split,
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        skip_bad=settings.skip_bad,
    )
    task = task_of(dataset, settings.instruction)
    if isinstance(task, UnjudgedTask):
        raise InvalidInput(
            f"{settings.data}: it has no judgements, so no quality can be measured. Label some queries "
            "(qrels/test.tsv, or a relevance or label field), at least 20, better some hundreds."
        )
    if task.clusters is not None and len(set(task.clusters)) < 2:
        raise InvalidInput(
            f"{settings.data}: all {len(task.units):,} units belong to one document or user, {task.clusters[0]!r}: one "
            "observation. Leave that field out, or give units of several."
        )
    return dataset, task


def _workload(
    settings: ChoiceSettings,
    groups: Mapping[str, Group],
    tokens: Mapping[str, TokenizedTexts],
    model: CandidateModel,
    query_group: str,
    document_group: str,
    pair_tokens: float,
) -> Workload:
    lengths = {name: texts.lengths(model.checkpoint.context) for name, texts in tokens.items()}
    quantile = next(iter(settings.slo), "p95")
    return Workload(
        query_tokens=float(lengths[query_group].mean()),
        pair_tokens=pair_tokens,
        longest=max(int(counts.max()) for counts in lengths.values()),
        document_tokens=int(lengths[document_group].sum()),
        documents=len(groups[document_group].texts),
        rate=settings.rate if settings.speed else None,
        slo_ms=settings.slo.get(quantile),
        slo_quantile=quantile,
    )


def _mean_pair_tokens(
    reranker: CandidateModel, task: Task, groups: Mapping[str, Group], document_group: str, seed: int
) -> float:
    """Mean tokens of a (query, document) pair with its template, over SAMPLED_PAIRS random pairs."""
    checkpoint, ranked = reranker.checkpoint, ranking_task(task)
    assert isinstance(checkpoint.prompts, RerankPrompts)  # open_models admits rerankers alone
    instruction = rerank_instruction(groups) or checkpoint.prompts.instruction
    rng, lengths = np.random.default_rng(seed), list[int]()
    documents = len(groups[document_group].texts)
    for unit in rng.integers(0, len(ranked.units), SAMPLED_PAIRS).tolist():
        document = int(rng.integers(0, documents)) if document_group == "corpus" else 0
        query, texts = _pair(ranked, unit, document)
        pairs = encode_pairs(checkpoint.tokenizer, instruction, query, texts, checkpoint.context, Truncation(True))
        lengths += [len(pair.ids) for pair in pairs]
    return float(np.mean(lengths))


def _pair(task: RankingTask, unit: int, document: int) -> tuple[str, Sequence[str]]:
    ranking = np.full((len(task.units), 1), -1)
    ranking[unit] = document
    return task.pairs(ranking, unit)


def _truncation_notes(tokens: Tokens) -> list[str]:
    return [
        f"{longer:,} of the {name} are longer than {model.name} takes ({model.checkpoint.context:,} tokens); truncated."
        for model, groups in tokens.items()
        for name, texts in groups.items()
        if (longer := texts.count_longer(model.checkpoint.context))
    ]
