"""Runs mteb's own tasks on the engine: an encoder that implements `EncoderProtocol` of mteb 2.

>>> import mteb
>>> from upsize import Embedder
>>> from upsize.evaluation.mteb_encoder import MtebEncoder
>>> encoder = MtebEncoder(Embedder("demo-s", truncate=True), "upsize/demo-s")
>>> results = mteb.evaluate(encoder, tasks=mteb.get_tasks(tasks=["STS12"]))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.engine import Embedder
from upsize.errors import MissingExtra
from upsize.evaluation.datasets import TaskKind
from upsize.evaluation.tasks import INSTRUCTIONS

Vectors = NDArray[np.float32]

TYPES = {
    "BitextMining": TaskKind.BITEXT,
    "Classification": TaskKind.CLASSIFICATION,
    "Clustering": TaskKind.CLUSTERING,
    "PairClassification": TaskKind.PAIR_CLASSIFICATION,
    "STS": TaskKind.STS,
}
"""Task types of mteb whose texts all get the type's instruction, unless the task has a prompt of its own."""


class MtebEncoder:
    """An embedder under the name that mteb writes into its results, `organisation/model`.

    Queries and the texts of symmetric tasks get the task's prompt in the family's format. Documents get none, as in the
    vendor's evaluation. `instructions` (mteb's task name → instruction) takes precedence over mteb's prompts.
    """

    def __init__(
        self,
        embedder: Embedder,
        name: str,
        *,
        dim: int | None = None,
        instructions: Mapping[str, str] | None = None,
    ) -> None:
        self._embedder, self._name, self._dim = embedder, name, dim
        self._instructions = instructions or {}

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        prompt_type: Any = None,
        **kwargs: Any,  # noqa: ARG002 (split, subset and batch size: they change no vector)
    ) -> Vectors:
        """Unit vectors (texts, dimension) of the texts under `text` in each batch.

        An empty text is embedded as a space: some data sets of mteb have empty texts, and the engine rejects them.
        """
        side = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        texts = (text or " " for batch in inputs for text in batch["text"])
        instruction = self.instruction(task_metadata, side)
        results = self._embedder.stream(
            texts,
            "document" if side == "document" else "query" if side else None,
            instruction=instruction,
            dim=self._dim,
        )
        return np.concatenate([result.values for result in results])

    def instruction(self, task_metadata: Any, side: str | None) -> str | None:
        """The instruction for one side of a task: the caller's, else mteb's prompt, else that of the task's type."""
        if side == "document":
            return None
        if task_metadata.name in self._instructions:
            return self._instructions[task_metadata.name]
        prompt = task_metadata.prompt
        if isinstance(prompt, Mapping):
            prompt = prompt.get(side or "query")
        kind = TYPES.get(task_metadata.type)
        return prompt or (INSTRUCTIONS[kind] if kind else None)

    def similarity(self, embeddings1: Vectors, embeddings2: Vectors) -> Vectors:
        """Cosines (first, second) of unit vectors."""
        return np.asarray(np.atleast_2d(embeddings1) @ np.atleast_2d(embeddings2).T)

    def similarity_pairwise(self, embeddings1: Vectors, embeddings2: Vectors) -> Vectors:
        """Cosines (pairs,) of unit vectors."""
        return np.asarray(np.einsum("ij,ij->i", np.atleast_2d(embeddings1), np.atleast_2d(embeddings2)))

    @property
    def mteb_model_meta(self) -> Any:
        """Name, revision (the fingerprint) and dimension, for mteb's result files. MissingExtra without mteb."""
        try:
            from mteb.models.model_meta import ModelMeta, ScoringFunction
        except ImportError:
            raise MissingExtra("mteb's tasks", "mteb", "mteb") from None
        dimension = self._dim or self._embedder.dimension
        return ModelMeta.create_empty(
            {
                "name": self._name,
                "revision": self._embedder.fingerprint.at(dimension).id,
                "embed_dim": dimension,
                "max_tokens": self._embedder.max_length,
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": True,
            }
        )
