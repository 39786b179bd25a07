"""Models: what indexes compute with, on an engine that others may use too. A model is known by its fingerprint.

An index's own model, precision and prompts are used whatever else is loaded: if the engine has a model of the same
fingerprint that one serves, otherwise the index's is loaded beside it, and let go when nobody needs it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upsize.catalog import Kind
from upsize.compute import LoadedModel, load_model
from upsize.engine import EmbedRequest, Engine, Lane, RerankRequest, Result
from upsize.errors import FingerprintMismatch
from upsize.evolve.state import Generation
from upsize.model import Truncation

log = logging.getLogger("upsize.evolve")


class Models:
    """The engine's models, by what an index wants of them. Thread-safe."""

    def __init__(self, engine: Engine, served: Mapping[str, tuple[str, str]] | None = None) -> None:
        """`served`: what clients call the models that the engine has already → its name there, and where it lies."""
        self.engine, self._served = engine, dict(served or {})
        self._loading = threading.Lock()
        self._names: dict[tuple[str, str, str, int | None], str] = {}
        """(kind, model, dtype, longest text) → name in the engine, of what was asked for before."""
        self._users: dict[str, set[str]] = {}
        """Name in the engine → who uses a model that was loaded for an index."""

    def embedder(self, model: str, dtype: str = "auto", max_length: int | None = None) -> str:
        """Name in the engine of this embedder, which is loaded if it is not there."""
        return self._name("embedding", model, dtype, max_length)

    def reranker(self, model: str) -> str:
        """Name in the engine of this reranker, which is loaded if it is not there."""
        return self._name("reranker", model, "auto", None)

    def path(self, model: str) -> str:
        """What finds the model again, from wherever: the folder of one that clients of this service call so, or that
        they named; a hub id and a demo's name as they are."""
        path = self._served[model][1] if model in self._served else model
        return str(Path(path).resolve()) if Path(path).is_dir() else path

    def loaded(self, name: str) -> LoadedModel:
        """The model itself."""
        return self.engine.models[name]

    def of(self, generation: Generation) -> str:
        """The generation's model; FingerprintMismatch where the files at its path are not those any more."""
        for name, loaded in self.engine.models.items():
            if loaded.fingerprint.at(generation.dimension) == generation.fingerprint:
                return name
        name = self.embedder(generation.model, generation.dtype, generation.max_length)
        try:
            generation.fingerprint.require(self.loaded(name).fingerprint.at(generation.dimension))
        except FingerprintMismatch as mismatch:
            raise FingerprintMismatch(
                f"Generation {generation.id} was made by {generation.model} when that was another model. {mismatch}"
            ) from None
        return name

    def hold(self, user: str, name: str) -> None:
        """Keep the model until `user` lets go."""
        with self._loading:
            if name in self._users:
                self._users[name].add(user)

    def release(self, user: str, keep: Sequence[str] = ()) -> None:
        """`user` needs no more than `keep`. What was loaded for indexes alone, and nobody needs, goes."""
        with self._loading:
            for name, users in list(self._users.items()):
                if name not in keep:
                    users.discard(user)
                if not users:
                    del self._users[name]
                    self._names = {key: n for key, n in self._names.items() if n != name}
                    self.engine.remove(name)
                    log.info("%s is not needed any more and was let go", name)

    def start(
        self,
        name: str,
        texts: Sequence[str],
        dimension: int,
        *,
        query: bool = False,
        instruction: str | None = None,
        lane: Lane = Lane.INTERACTIVE,
        truncate: bool = False,
    ) -> Future[Result]:
        """Begin to embed; the result's values are unit vectors (texts, dimension). Errors as the engine's."""
        side: Literal["query", "document"] = "query" if query else "document"
        request = EmbedRequest(texts, side, instruction, dimension, Truncation(truncate), lane)
        return self.engine.submit(name, request)

    def embed_query(
        self, name: str, text: str, dimension: int, instruction: str | None = None, lane: Lane = Lane.INTERACTIVE
    ) -> NDArray[np.float32]:
        """The unit vector (dimension,) of a query; one that is too long is an error."""
        future = self.start(name, [text], dimension, query=True, instruction=instruction, lane=lane)
        vector: NDArray[np.float32] = future.result().values[0]
        return vector

    def score(
        self, name: str, query: str, documents: Sequence[str], instruction: str | None = None
    ) -> NDArray[np.float32]:
        """Log-odds (documents,) of a reranker; documents that are too long are cut."""
        request = RerankRequest(query, documents, instruction, Truncation(True))
        values: NDArray[np.float32] = self.engine.submit(name, request).result().values
        return values

    def _name(self, kind: Kind, model: str, dtype: str, max_length: int | None) -> str:
        if model in self._served and (dtype, max_length) == ("auto", None):
            name = self._served[model][0]
            if self.loaded(name).checkpoint.kind == kind:
                return name
        wanted = (kind, model, dtype, max_length)
        with self._loading:
            if self._names.get(wanted) in self.engine.models:
                return self._names[wanted]
            loaded = load_model(self.path(model), kind=kind, dtype=dtype, max_length=max_length)
            for name, other in self.engine.models.items():
                if other.fingerprint == loaded.fingerprint and other.checkpoint.kind == kind:
                    self._names[wanted] = name
                    return name
            taken = self.engine.models
            name = next(n for n in (model, *(f"{model}#{i}" for i in range(2, 1 << 20))) if n not in taken)
            self.engine.add(name, loaded)
            self._users[name] = set()
            self._names[wanted] = name
            log.info("%s was loaded in %s for an index", model, loaded.plan.precision)
            return name
