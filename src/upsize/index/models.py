"""Models: the engine's models that indexes use, identified by their fingerprints.

An index always uses its own model, precision and prompts. Where the engine has a model of the same fingerprint, the
index shares it; otherwise the model is loaded for the index, and removed when no index needs it.
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
    """The model that an index asks for."""

    kind: Kind
    model: str
    dtype: str
    max_length: int | None


class ModelPool:
    """The engine's models, loaded for indexes on demand. Thread-safe.

    A caller names the index that needs a model (`user`); the model stays loaded while any index needs it.
    """

    def __init__(self, engine: Engine, served: Mapping[str, tuple[str, str]] | None = None) -> None:
        """`served`: a served model's public name → its name in the engine, and its path."""
        self.engine, self._served = engine, dict(served or {})
        self._lock = threading.Lock()
        self._loading: dict[_ModelKey, threading.Lock] = defaultdict(threading.Lock)
        self._names: dict[_ModelKey, str] = {}
        """Model key → its name in the engine, for keys that were asked for before."""
        self._on_renewal: dict[str, Callable[[Generation, Fingerprint], None]] = defaultdict(lambda: _ignore_renewal)
        self._users: dict[str, set[str]] = {}
        """Name in the engine → its users, for models that were loaded for indexes."""

    def embedder(self, model: str, user: str, dtype: str = "auto", max_length: int | None = None) -> str:
        """Name of this embedding model in the engine; loads it if necessary."""
        return self._name(_ModelKey("embedding", model, dtype, max_length), user)

    def reranker(self, model: str, user: str) -> str:
        """Name of this reranker in the engine; loads it if necessary."""
        return self._name(_ModelKey("reranker", model, "auto", None), user)

    def path(self, model: str) -> str:
        """A reference to the model that does not depend on this service: an absolute folder for a served model or a
        path; a hub id or a demo name unchanged."""
        path = self._served[model][1] if model in self._served else model
        return str(Path(path).resolve()) if Path(path).is_dir() else path

    def at_hand(self, model: str) -> bool:
        """Whether the model is served here, or a demo model, so that using it downloads nothing."""
        return model in self._served or model in demo.NAMES

    def loaded(self, name: str) -> LoadedModel:
        """The loaded model of this name in the engine."""
        return self.engine.models[name]

    def of(self, generation: Generation, user: str) -> str:
        """Name in the engine of the generation's model. Raises FingerprintMismatch where its files have changed."""
        name = self._shared(generation, user)
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

    def _shared(self, generation: Generation, user: str) -> str | None:
        """Name of a loaded model that makes the generation's vectors, registered for `user`; None without one."""
        name = self._same(generation)
        with self._lock:
            if name not in self.engine.models:
                return None
            self._use(name, user)
            return name

    def on_renewal(self, user: str, call: Callable[[Generation, Fingerprint], None] | None) -> None:
        """Call this when a generation of `user` has a fingerprint of samples of the weights, from an earlier version,
        and the loaded model has the same samples: the generation gets the given fingerprint, of all bytes. None ends
        the calls."""
        self._on_renewal[user] = call or _ignore_renewal

    def release(self, user: str, keep: Sequence[Generation] = (), rerankers: Sequence[str] = ()) -> None:
        """Release all models of `user` but those of these generations and rerankers. Models that were loaded for
        indexes are removed from the engine once no index needs them."""
        needed = {self._same(generation) for generation in keep}
        needed |= {self._names.get(_ModelKey("reranker", model, "auto", None)) for model in rerankers}
        with self._lock:
            for name, users in list(self._users.items()):
                if user not in users or name in needed:
                    continue
                users.discard(user)
                if not users:
                    del self._users[name]
                    self._names = {key: n for key, n in self._names.items() if n != name}
                    self.engine.remove(name)
                    log.info("%s is not needed any more and was removed", name)

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
        """Start embedding texts; the result's values are unit vectors (texts, dimension). Raises engine errors."""
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
        with self._lock:
            lock = self._loading[wanted]
        with lock:  # one load of this model; other models load meanwhile
            with self._lock:
                known = self._names.get(wanted)
                if known in self.engine.models:
                    self._use(known, user)
                    return known
            loaded = load_model(
                self.path(wanted.model), kind=wanted.kind, dtype=wanted.dtype, max_length=wanted.max_length
            )
            with self._lock:
                return self._admit(wanted, loaded, user)

    def _admit(self, wanted: _ModelKey, loaded: LoadedModel, user: str) -> str:
        """Add it to the engine, unless a model of the same fingerprint is there. The caller holds the lock."""
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
    """Whether a model makes vectors of this fingerprint, under its present or its former fingerprint."""
    if model.fingerprint.at(wanted.dimension) == wanted:
        return True
    return wanted.sampled and model.sampled_fingerprint.at(wanted.dimension) == wanted


def _ignore_renewal(generation: Generation, fingerprint: Fingerprint) -> None:
    """Ignore a renewal."""
