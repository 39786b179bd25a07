"""The walk of a choice: data → candidates → refusals → passes, runs and load → verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from upsize.compute import this_machine
from upsize.diagnostics import Rates, measure_rates
from upsize.errors import InvalidInput
from upsize.evaluation.datasets import Dataset, load_dataset
from upsize.evaluation.tasks import Task, UnjudgedTask, task_of
from upsize.model import RerankPrompts, Truncation
from upsize.model.encoding import encode_pairs
from upsize.progress import ProgressBar
from upsize.selection.analyse import conclude
from upsize.selection.candidates import Candidate, CandidateModel, candidates_of, open_models, smallest_first
from upsize.selection.conditions import conditions
from upsize.selection.feasibility import (
    Workload,
    embedding_seconds,
    estimated_memory,
    find_infeasible,
    noisy_estimate_note,
    scoring_seconds,
)
from upsize.selection.inference import embed, load_candidate_model, unlimited_engine
from upsize.selection.latency_checks import broken_limit, disturbed_embedding_notes, disturbed_latency_notes, query_cost
from upsize.selection.quality import Quality, rankable
from upsize.selection.remaining_work import announcement
from upsize.selection.report import write_report
from upsize.selection.run import Run, write_whole
from upsize.selection.settings import ChoiceSettings
from upsize.selection.speed import LoadTest, Speeds
from upsize.selection.tokenization import Tokeniser
from upsize.selection.verdict import CandidateReport, InfeasibleCandidate, Interval, Memory, Verdict

PAIRS_LOOKED_AT = 200
LONG = 64
"""Texts that a model's peak memory is measured with, the longest of the data."""
LOADS = 4.0
"""Times the seconds of load at the user's rate that a candidate's load takes in all: the sweep to the knee doubles the
rate some six times, for half as long each."""
NOT_YET = Interval(0.0, 0.0, 0.0)


def run_choice(
    settings: ChoiceSettings, *, progress: bool = False, say: Callable[[str], None] = lambda _: None
) -> Verdict:
    """Answer one question, and leave verdict.json, the runs and index.html in `settings.out`.

    What an earlier run left there is gone on with. `say` hears what the user must know on the way. Raises InvalidInput
    for data or settings that cannot be compared by, CheckpointError and HubError for models.
    """
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
            f"{settings.data}: nothing in it is judged, so no quality can be measured. Label some queries "
            "(qrels/test.tsv, or a relevance or label field), at least 20, better some hundreds."
        )
    if task.clusters is not None and len(set(task.clusters)) < 2:
        raise InvalidInput(
            f"{settings.data}: all {len(task.units):,} units belong to one document or user, {task.clusters[0]!r}: one "
            "observation. Leave that field out, or give units of several."
        )
    say(f"{dataset.name}: {task.name}, {len(task.units):,} units, by {task.metric.name}.")
    for note in (*dataset.notes, *task.lint):
        say(note)
    settings.out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.out / "lock", timeout=0):
            verdict = _Walk(settings, dataset, task, progress, say).verdict()
            matrix = settings.out / "matrix" / "matrix.json"
            write_report(settings.out, matrix if matrix.exists() else None)
            return verdict
    except Timeout:
        raise InvalidInput(f"{settings.out}: another run is writing it (it holds {settings.out / 'lock'}).") from None


@dataclass
class _Walk:
    """One question on its way."""

    settings: ChoiceSettings
    dataset: Dataset
    task: Task
    progress: bool
    say: Callable[[str], None]
    disturbances: list[str] = field(default_factory=list)
    """What a busy machine did to the measurements, for the verdict's notes."""

    def verdict(self) -> Verdict:
        """All of it."""
        wanted, refused = self.sorted_out
        if not wanted:
            lines = "\n".join(f"  {r.id}: {r.reason}\n" + "".join(f"    {a}\n" for a in r.arithmetic) for r in refused)
            raise InvalidInput(f"None of the candidates can be used here:\n{lines}Nothing was loaded.")
        for refusal in refused:
            self.say(f"refused: {refusal.id}: {refusal.reason} ({'; '.join(refusal.arithmetic)})")
        self.say(self._announcement(wanted))
        for model in dict.fromkeys(c.model for c in wanted):
            self._embed(model, [c for c in wanted if c.model == model and c.reranker is None])
        for reranker in dict.fromkeys(c.reranker for c in wanted if c.reranker):
            self._rerank(reranker, [c for c in wanted if c.reranker == reranker])
        runs = [self.quality.found(c) or self.quality.measure(c) for c in wanted]
        reports = [self._report(c, run) for c, run in zip(wanted, runs, strict=True)]
        found = conclude(
            self.task,
            runs,
            reports,
            refused,
            delta=self.settings.delta,
            seed=self.settings.seed,
            dataset=self.facts,
            notes=self.notes,
            limits=dict(self.settings.slo),
            **conditions(),
        )
        path = self.settings.out / "verdict.json"
        text = json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_whole(path, text.encode("utf-8") + b"\n")
        return found

    # what there is

    @cached_property
    def quality(self) -> Quality:
        return Quality(self.settings.out, self.task, self.dataset, self.settings.instruction)

    @cached_property
    def tokeniser(self) -> Tokeniser:
        return Tokeniser(self.task.groups(), self.progress)

    @cached_property
    def speeds(self) -> Speeds:
        s = self.settings
        wanted = LoadTest(s.rate, s.seconds, s.seed, s.device, self.quality.digest, dict(s.slo))
        return Speeds(s.out / "work" / "speed", wanted, self.progress)

    @cached_property
    def models(self) -> list[CandidateModel]:
        return open_models(self.settings.models, "embedding", self.settings.precisions, self.settings.hub)

    @cached_property
    def rerankers(self) -> list[CandidateModel]:
        if self.settings.rerankers:
            rankable(self.task)
        return open_models(self.settings.rerankers, "reranker", ("auto",), self.settings.hub)

    @cached_property
    def asking(self) -> str:
        """The group whose texts are asked for one at a time when in use: the first."""
        return next(iter(self.task.groups()))

    @cached_property
    def indexed(self) -> str:
        """The group that is embedded beforehand: documents where there are any."""
        names = list(self.task.groups())
        return next((n for n in ("corpus", "documents") if n in names), names[0])

    def _lengths(self, group: str, model: CandidateModel) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self.tokeniser.tokens(group, model.checkpoint).lengths(model.checkpoint.context)

    @cached_property
    def pair_tokens(self) -> float:
        """Mean of a pair with its template, over some queries with some documents."""
        if not self.rerankers:
            return 0.0
        checkpoint, task = self.rerankers[0].checkpoint, rankable(self.task)
        prompts = checkpoint.prompts
        assert isinstance(prompts, RerankPrompts)  # rerankers were asked for
        rng, lengths = np.random.default_rng(self.settings.seed), []
        documents = len(self.task.groups()[self.indexed].texts)
        for unit in rng.integers(0, len(task.units), PAIRS_LOOKED_AT).tolist():
            ranking = np.full((len(task.units), 1), -1)
            ranking[unit] = rng.integers(0, documents) if self.indexed == "corpus" else 0
            query, texts = task.pairs(ranking, unit)
            instruction = self.quality.rerank_instruction or prompts.instruction
            limit = checkpoint.context
            lengths += [
                len(e.ids)
                for e in encode_pairs(checkpoint.tokenizer, instruction, query, texts, limit, Truncation(True))
            ]
        return float(np.mean(lengths))

    @cached_property
    def load(self) -> Workload:
        first, s, machine = self.models[0], self.settings, this_machine()
        device = "cuda" if machine.gpus and s.device in ("auto", "cuda") else "cpu"
        longest = max(int(self._lengths(name, first).max()) for name in self.task.groups())
        quantile = next(iter(s.slo), "p95")
        return Workload(
            query_tokens=float(self._lengths(self.asking, first).mean()),
            pair_tokens=self.pair_tokens,
            longest=longest,
            document_tokens=int(self._lengths(self.indexed, first).sum()),
            documents=len(self.task.groups()[self.indexed].texts),
            rate=s.rate if s.speed else None,
            slo_ms=s.slo.get(quantile),
            slo_quantile=quantile,
            device=device,
            memory=machine.available if device == "cpu" else machine.gpus[0].memory,
        )

    @cached_property
    def rates(self) -> Rates:
        """Of this machine; measured for some ten seconds."""
        with ProgressBar("what this machine does", unit="figures", show=self.progress) as bar:
            precisions = {m.precision for m in (*self.models, *self.rerankers)}
            hear = lambda done, total, _: bar.advance(done, total)  # noqa: E731
            return measure_rates(this_machine(), on_progress=hear, precisions=precisions)

    @cached_property
    def sorted_out(self) -> tuple[list[Candidate], list[InfeasibleCandidate]]:
        """Candidates smallest first, and those that are refused."""
        found, notes = candidates_of(self.models, self.settings.dims, self.rerankers, self.settings.depths)
        for note in notes:
            self.say(note)
        load = self.load
        limited = load.rate is not None or load.slo_ms is not None
        rates = self.rates if limited else None
        wanted, refused = [], []
        for candidate in smallest_first(found, load.query_tokens, load.pair_tokens):
            refusal = find_infeasible(candidate, load, rates)
            if refusal is None:
                wanted.append(candidate)
                if doubted := noisy_estimate_note(candidate, load, rates):
                    self.disturbances.append(f"{candidate.id}: {doubted}.")
                    self.say(self.disturbances[-1])
            else:
                refused.append(refusal)
        return wanted, refused

    @cached_property
    def facts(self) -> dict[str, Any]:
        data = self.dataset
        groups = {
            name: {
                "texts": len(group.texts),
                "mean_tokens": round(float(self._lengths(name, self.models[0]).mean()), 1),
                "longest_tokens": int(self._lengths(name, self.models[0]).max()),
            }
            for name, group in self.task.groups().items()
        }
        return {
            "path": str(self.settings.data),
            "name": data.name,
            "kind": data.kind.value,
            "digest": self.quality.digest,
            "rows_left_out": len(data.row_errors),
            "groups": groups,
        }

    @property
    def notes(self) -> list[str]:
        """What the reader must hear; complete once all is measured."""
        notes = list(self.dataset.notes)
        for model in dict.fromkeys(m for m in self.models):
            limit = model.checkpoint.context
            for name in self.task.groups():
                if longer := self.tokeniser.tokens(name, model.checkpoint).cut(limit):
                    notes.append(
                        f"{longer:,} of the {name} are longer than {model.name} takes ({limit:,} tokens); cut."
                    )
        notes += self.disturbances
        models = dict.fromkeys(c.model for c in self.sorted_out[0])
        notes += disturbed_embedding_notes([(m.name, self.quality.store(m, self.indexed).spent.busy) for m in models])
        if self.settings.speed:
            notes += disturbed_latency_notes([(c.id, self.speeds.latency(c)) for c in self.sorted_out[0]])
        return notes

    def _announcement(self, wanted: Sequence[Candidate]) -> str:
        """What is still to do, and about how long it takes where the machine's rates are known."""
        texts = pairs = runs = 0
        seconds = 0.0
        rates = self.rates if self.settings.speed else None
        for model in dict.fromkeys(c.model for c in wanted):
            for name, group in self.task.groups().items():
                left = len(group.texts) - self.quality.store(model, name).spent.rows
                texts += left
                if rates:
                    share = left / max(len(group.texts), 1)
                    seconds += embedding_seconds(model, share * float(self._lengths(name, model).sum()), rates)
        for c in wanted:
            if c.reranker and c.depth and self.quality.found(c) is None:
                more = len(self.task.units) * c.depth
                pairs += more
                seconds += scoring_seconds(c.reranker, more, self.load, rates) if rates else 0.0
        if self.settings.speed:
            runs = len({c.pair for c in wanted if self.speeds.due(c)})
            seconds += runs * LOADS * self.settings.seconds
        return announcement(texts, pairs, runs, seconds if rates else None)

    # what is measured

    def _embed(self, model: CandidateModel, candidates: Sequence[Candidate]) -> None:
        """Vectors of all groups and, without a reranker, latency: one load of the model."""
        groups = list(self.task.groups())
        behind = [n for n in groups if self.quality.store(model, n).spent.rows < len(self.task.groups()[n].texts)]
        timed = not self.settings.speed or not candidates or not self.speeds.due(candidates[0])
        if not behind and timed:
            return
        engine = unlimited_engine({model.name: load_candidate_model(model, self.settings.device, self.settings.hub)})
        try:
            for name in behind:
                tokens = self.tokeniser.tokens(name, model.checkpoint)
                label = f"{model.name} {name}"
                embed(self.quality.store(model, name), engine, model.name, tokens, label=label, progress=self.progress)
            if not timed:
                queries = self.tokeniser.tokens(self.asking, model.checkpoint)
                self.speeds.measure_latency(candidates[0], engine, (model.name, None), queries, None, None)
        finally:
            engine.close()

    def _rerank(self, reranker: CandidateModel, candidates: Sequence[Candidate]) -> None:
        """Scores of all pairs that any first stage ranks high enough, and latency of each model with each depth."""
        task, instruction, scores = rankable(self.task), self.quality.rerank_instruction, self.quality.scores(reranker)
        todo = [c for c in candidates if self.quality.found(c) is None]
        untimed = {c.pair: c for c in candidates if self.settings.speed and self.speeds.due(c)}
        if not todo and not untimed:
            return
        model = load_candidate_model(reranker, self.settings.device, self.settings.hub)
        engine = unlimited_engine({reranker.name: model})
        try:
            for candidate in todo:
                ranking = self.quality.ranking(candidate)[:, : candidate.depth]
                label = candidate.id
                scores.score(engine, reranker.name, task, ranking, instruction, label=label, progress=self.progress)
        finally:
            engine.close()
        for candidate in untimed.values():
            embedder = candidate.model
            ranking = self.quality.ranking(candidate)
            queries = self.tokeniser.tokens(self.asking, embedder.checkpoint)
            both = {
                "embedder": load_candidate_model(embedder, self.settings.device, self.settings.hub),
                "reranker": model,
            }
            engine = unlimited_engine(both)
            try:
                self.speeds.measure_latency(
                    candidate,
                    engine,
                    ("embedder", "reranker"),
                    queries,
                    lambda place, ranking=ranking: task.pairs(ranking, place),  # type: ignore[misc]
                    instruction,
                )
            finally:
                engine.close()

    # what is told

    def _report(self, candidate: Candidate, run: Run) -> CandidateReport:
        load, model = self.load, candidate.model
        spent = self.quality.store(model, self.indexed).spent
        tokens_per_second = spent.tokens / spent.seconds if spent.seconds else None
        backfill = load.document_tokens / tokens_per_second if tokens_per_second else None
        latency = self.speeds.latency(candidate) if self.settings.speed else None
        why_not = broken_limit(latency, self.settings.slo)
        return CandidateReport(
            id=candidate.id,
            model=model.name,
            dimension=candidate.dimension,
            precision=model.precision,
            reranker=candidate.reranker.name if candidate.reranker else None,
            depth=candidate.depth,
            fingerprint=self.quality.fingerprint(candidate),
            feasible=why_not is None,
            why_not=why_not,
            quality=NOT_YET,
            flops_a_query=candidate.flops_a_query(load.query_tokens, load.pair_tokens),
            bytes_a_vector=candidate.bytes_a_vector,
            memory=self._memory(candidate),
            tokens_per_second=tokens_per_second,
            backfill_seconds=backfill,
            latency=latency,
            money=query_cost(self.settings.price, latency, backfill),
            run=f"runs/{run.folder}",
        )

    def _memory(self, candidate: Candidate) -> Memory:
        parts = [candidate.model, *([candidate.reranker] if candidate.reranker else [])]
        estimated = sum(estimated_memory(m, self.load) for m in parts)
        peak = None
        if self.settings.speed:
            longest = {m: self._longest(m) for m in parts}
            peak = sum(self.speeds.peak(m, longest[m]) for m in parts)
        return Memory(candidate.weight_bytes, estimated, peak)

    def _longest(self, model: CandidateModel) -> list[int]:
        """Lengths of the longest texts, longest first."""
        source = model if model.checkpoint.kind == "embedding" else self.models[0]
        lengths = np.concatenate([self._lengths(name, source) for name in self.task.groups()])
        return [int(n) for n in np.sort(lengths)[::-1][:LONG]]
