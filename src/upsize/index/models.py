"""Models: what indexes compute with, on an engine that others may use too. A model is known by its fingerprint.

An index's own model, precision and prompts are used whatever else is loaded: if the engine has a model of the same
fingerprint that one serves, otherwise the index's is loaded beside it, and let go when nobody needs it.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upsize import demo
from upsize.catalog import Kind
from upsize.compute import LoadedModel, load_model
from upsize.engine import EmbedRequest, Engine, Priority, RerankRequest, Result
from upsize.errors import FingerprintMismatch
from upsize.fingerprint import Fingerprint
from upsize.index.state import Generation
from upsize.model import Truncation

log = logging.getLogger("upsize.index")


class _ModelKey(NamedTuple):
    """What was asked for."""

    kind: Kind
    model: str
    dtype: str
    max_length: int | None


class ModelPool:
    """The engine's models, by what an index wants of them. Thread-safe.

    Whoever asks for a model says for whom (`user`); it stays while anybody has it.
    """

    def __init__(self, engine: Engine, served: Mapping[str, tuple[str, str]] | None = None) -> None:
        """`served`: what clients call the models that the engine has already → its name there, and where it lies."""
        self.engine, self._served = engine, dict(served or {})
        self._turn = threading.Lock()
        self._loading: dict[_ModelKey, threading.Lock] = defaultdict(threading.Lock)
        self._names: dict[_ModelKey, str] = {}
        """What was asked for before → its name in the engine."""
        self._on_renewal: dict[str, Callable[[Generation, Fingerprint], None]] = defaultdict(lambda: _ignored)
        self._users: dict[str, set[str]] = {}
        """Name in the engine → who uses a model that was loaded for an index."""

    def embedder(self, model: str, user: str, dtype: str = "auto", max_length: int | None = None) -> str:
        """Name in the engine of this embedder, which is loaded if it is not there."""
        return self._name(_ModelKey("embedding", model, dtype, max_length), user)

    def reranker(self, model: str, user: str) -> str:
        """Name in the engine of this reranker, which is loaded if it is not there."""
        return self._name(_ModelKey("reranker", model, "auto", None), user)

    def path(self, model: str) -> str:
        """What finds the model again, from wherever: the folder of one that clients of this service call so, or that
        they named; a hub id and a demo's name as they are."""
        path = self._served[model][1] if model in self._served else model
        return str(Path(path).resolve()) if Path(path).is_dir() else path

    def at_hand(self, model: str) -> bool:
        """Whether a client may have it without more ado: it is served, or one of the demo models."""
        return model in self._served or model in demo.NAMES

    def loaded(self, name: str) -> LoadedModel:
        """The model itself."""
        return self.engine.models[name]

    def of(self, generation: Generation, user: str) -> str:
        """The generation's model; FingerprintMismatch where the files at its path are not those any more."""
        name = self._taken(generation, user)
        if name is None:
            name = self.embedder(generation.model, user, generation.dtype, generation.max_length)
        loaded = self.loaded(name)
        found = loaded.fingerprint.at(generation.dimension)
        if not _makes(loaded, generation.fingerprint):
            try:
                generation.fingerprint.require(found)
            except FingerprintMismatch as mismatch:
                raise FingerprintMismatch(
                    f"Generation {generation.id} was made by {generation.model} when that was another model. {mismatch}"
                ) from None
        if generation.fingerprint != found:
            self._on_renewal[user](generation, found)
        return name

    def _taken(self, generation: Generation, user: str) -> str | None:
        """The name of a model in the engine that makes the generation's vectors, which `user` has from now on."""
        name = self._same(generation)
        with self._turn:
            if name not in self.engine.models:
                return None
            self._use(name, user)
            return name

    def on_renewal(self, user: str, call: Callable[[Generation, Fingerprint], None] | None) -> None:
        """Call this when a generation of `user` carries the fingerprint of a version that sampled the weights, and the
        model at hand has the same samples: the generation's fingerprint is to become the given one, of all bytes.
        None: call it no more."""
        self._on_renewal[user] = call or _ignored

    def release(self, user: str, keep: Sequence[Generation] = (), rerankers: Sequence[str] = ()) -> None:
        """`user` needs no more than the models of these generations, and these rerankers. What was loaded for indexes
        alone, and nobody else needs, goes."""
        needed = {self._same(generation) for generation in keep}
        needed |= {self._names.get(_ModelKey("reranker", model, "auto", None)) for model in rerankers}
        with self._turn:
            for name, users in list(self._users.items()):
                if user not in users or name in needed:
                    continue
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
        priority: Priority = Priority.INTERACTIVE,
        truncate: bool = False,
    ) -> Future[Result]:
        """Begin to embed; the result's values are unit vectors (texts, dimension). Errors as the engine's."""
        side: Literal["query", "document"] = "query" if query else "document"
        request = EmbedRequest(texts, side, instruction, dimension, Truncation(truncate), priority)
        return self.engine.submit(name, request)

    def embed_query(
        self,
        name: str,
        text: str,
        dimension: int,
        instruction: str | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> NDArray[np.float32]:
        """The unit vector (dimension,) of a query; one that is too long is an error."""
        future = self.start(name, [text], dimension, query=True, instruction=instruction, priority=priority)
        vector: NDArray[np.float32] = future.result().values[0]
        return vector

    def score(
        self,
        name: str,
        query: str,
        documents: Sequence[str],
        instruction: str | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> NDArray[np.float32]:
        """Log-odds (documents,) of a reranker; documents that are too long are cut."""
        request = RerankRequest(query, documents, instruction, Truncation(True), priority=priority)
        values: NDArray[np.float32] = self.engine.submit(name, request).result().values
        return values

    def _same(self, generation: Generation) -> str | None:
        """Name of a model in the engine that makes the generation's vectors."""
        return next((n for n, m in self.engine.models.items() if _makes(m, generation.fingerprint)), None)

    def _use(self, name: str, user: str) -> None:
        """Note who uses it, if it was loaded for an index. Needs the turn."""
        if name in self._users:
            self._users[name].add(user)

    def _name(self, wanted: _ModelKey, user: str) -> str:
        if wanted.model in self._served and wanted[2:] == ("auto", None):
            name = self._served[wanted.model][0]
            if self.loaded(name).checkpoint.kind == wanted.kind:
                return name
        with self._turn:
            lock = self._loading[wanted]
        with lock:  # one load of it; others of other models go on meanwhile
            with self._turn:
                known = self._names.get(wanted)
                if known in self.engine.models:
                    self._use(known, user)
                    return known
            loaded = load_model(
                self.path(wanted.model), kind=wanted.kind, dtype=wanted.dtype, max_length=wanted.max_length
            )
            with self._turn:
                return self._admit(wanted, loaded, user)

    def _admit(self, wanted: _ModelKey, loaded: LoadedModel, user: str) -> str:
        """Put it into the engine, unless one of the same fingerprint is there. Needs the turn."""
        there = self.engine.models
        name = next((n for n, m in there.items() if m.fingerprint == loaded.fingerprint), None)
        if name is None:
            names = (wanted.model, *(f"{wanted.model}#{i}" for i in range(2, 1 << 20)))
            name = next(n for n in names if n not in there)
            self.engine.add(name, loaded)
            self._users[name] = set()
            log.info("%s was loaded in %s for an index", wanted.model, loaded.plan.precision)
        self._names[wanted] = name
        self._use(name, user)
        return name


def _makes(model: LoadedModel, wanted: Fingerprint) -> bool:
    """Whether a model makes vectors of this fingerprint, or of one that an earlier version gave the same model."""
    if model.fingerprint.at(wanted.dimension) == wanted:
        return True
    return wanted.sampled and model.sampled_fingerprint.at(wanted.dimension) == wanted


def _ignored(generation: Generation, fingerprint: Fingerprint) -> None:
    """For users that keep no state."""
