"""What the stages of a choice hand on: prepare → estimate → measure → analyse. The answer is `verdict.Verdict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from upsize.diagnostics import Rates
from upsize.evaluation.datasets import Dataset
from upsize.evaluation.tasks import Group, Task
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.row_store import ComputeCost
from upsize.selection.run import Run
from upsize.selection.settings import ChoiceSettings
from upsize.selection.tokenization import TokenizedTexts
from upsize.selection.verdict import InfeasibleCandidate, Latency


@dataclass(frozen=True)
class Workload:
    """What the data and the user ask of a candidate. Token counts are those of the first model's tokenizer."""

    query_tokens: float
    """Mean tokens of a query, with instruction and end token."""
    pair_tokens: float
    """Mean tokens of a reranked pair with its template; 0 where nothing is reranked."""
    longest: int
    """Tokens of the longest text."""
    document_tokens: int
    """Tokens of all documents."""
    documents: int
    rate: float | None
    """Queries a second; None where latency is not measured."""
    slo_ms: float | None
    """Limit of the `slo_quantile` latency, in milliseconds."""
    slo_quantile: str


@dataclass(frozen=True)
class MachineCapacity:
    """What this machine offers a candidate."""

    device: str
    memory: int
    """Bytes free on the device."""
    rates: Rates | None
    """Measured compute rates; None where latency is not measured."""


@dataclass(frozen=True)
class PreparedChoice:
    """The question: data read, task built, candidates opened, texts tokenised."""

    settings: ChoiceSettings
    dataset: Dataset
    digest: str
    """Of all that the dataset says, 16 hexadecimal digits."""
    task: Task
    groups: Mapping[str, Group]
    query_group: str
    """The group whose texts are embedded one at a time when the system is in use."""
    document_group: str
    """The group that is embedded beforehand: documents where there are any."""
    models: tuple[CandidateModel, ...]
    candidates: tuple[Candidate, ...]
    """Smallest first."""
    tokens: Mapping[CandidateModel, Mapping[str, TokenizedTexts]]
    """Embedder → group → its tokenised texts."""
    workload: Workload
    notes: tuple[str, ...]
    """How the data was read, and which texts a model truncates."""


@dataclass(frozen=True)
class EstimatedChoice:
    """Which candidates are measured, by arithmetic alone."""

    capacity: MachineCapacity
    feasible: tuple[Candidate, ...]
    """Smallest first; never empty."""
    infeasible: tuple[InfeasibleCandidate, ...]
    notes: tuple[str, ...]
    """Candidates that a noisy estimate would have excluded."""


@dataclass(frozen=True)
class CandidateMeasurement:
    """The measured numbers of one candidate."""

    candidate: Candidate
    run: Run
    """Quality, unit by unit."""
    embedding: ComputeCost
    """Of embedding the document group once with the candidate's model."""
    latency: Latency | None
    peak_memory: int | None
    """Bytes; None where speed is not measured, as `latency`."""


@dataclass(frozen=True)
class MeasuredChoice:
    """All measurements, in the order of `EstimatedChoice.feasible`."""

    candidates: tuple[CandidateMeasurement, ...]
