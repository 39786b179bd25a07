"""Service: the state that all handlers share: the models by the names of clients, the engine, the indexes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from upsize import demo
from upsize.catalog import Kind
from upsize.compute import LoadedModel
from upsize.engine import Engine, Limits
from upsize.errors import Unavailable, UnknownModel
from upsize.folders import expanded
from upsize.index import Index, Indexes, ModelPool, home
from upsize.server.allow_list import Allowed, folder_of
from upsize.server.metrics import Metrics

REOPEN_SECONDS = 30.0
"""Seconds until the service opens an index again that another process held, or whose store did not answer."""
State = Literal["starting", "ok", "draining"]
T = TypeVar("T")

IndexWork = Literal["search", "write", "move", "long"]
INDEX_THREADS: Mapping[IndexWork, int] = {"search": 16, "write": 8, "move": 2, "long": 4}
"""Threads for index calls of each kind. A write then never delays a search or a switch, nor a plan a write."""


@dataclass(frozen=True)
class ServedModel:
    """A model of the service. Replies carry `name`; clients may also use any of `aliases`."""

    name: str
    path: str
    """A hub id, a folder, or a demo name, as the user gave it."""
    aliases: tuple[str, ...]
    loaded: LoadedModel

    @property
    def kind(self) -> Kind:
        """ "embedding" or "reranker"."""
        return self.loaded.checkpoint.kind


@dataclass
class Service:
    """Starts without models, so that `/health` answers while they load; `start` makes it ready."""

    metrics: Metrics = field(default_factory=Metrics)
    limits: Limits = field(default_factory=Limits)
    allow_truncation: bool = False
    state: State = "starting"
    created: int = field(default_factory=lambda: int(time.time()))
    models: tuple[ServedModel, ...] = ()
    indexes_folder: Path = field(default_factory=home)
    allowed: Allowed = field(default_factory=Allowed)
    """Stores and models that requests may name."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Folder → the name that clients see in its place, "" for the folder of indexes. Set by `start`."""
    backfill: bool = True
    """Whether generations are filled in the background."""
    _engine: Engine | None = None
    _indexes: Indexes | None = None
    _pools: dict[str, ThreadPoolExecutor] = field(
        default_factory=lambda: {
            kind: ThreadPoolExecutor(threads, thread_name_prefix=f"upsize-{kind}")
            for kind, threads in INDEX_THREADS.items()
        }
    )

    def start(self, models: tuple[ServedModel, ...]) -> None:
        """Serve these models from now on. Runs a first batch of each."""
        self._engine = Engine({m.name: m.loaded for m in models}, self.limits, self.metrics)
        served = {called: (m.name, m.path) for m in models for called in (m.name, *m.aliases)}
        self._indexes = Indexes(
            self.indexes_folder,
            ModelPool(self._engine, served),
            background=self.backfill,
            credentials=self.allowed.credentials,
        )
        self.models = models
        self.folders = self._find_folders()
        self.metrics.watch(self._engine, {m.name: m.loaded for m in models}, self._indexes)
        if self.state == "starting":
            self.state = "ok"

    def require_ready(self) -> Engine:
        """The engine. Raises Unavailable while models load and while the service drains."""
        if self._engine is None or self.state != "ok":
            status = "loading its models" if self.state == "starting" else "draining and takes no new requests"
            raise Unavailable(f"The service is {status}.")
        return self._engine

    def model(self, name: str | None, kind: Kind | None = None) -> ServedModel:
        """The model that a client names; None stands for the first of the kind. Raises UnknownModel."""
        self.require_ready()
        fitting = [m for m in self.models if kind in (None, m.kind)]
        if name is None and fitting:
            return fitting[0]
        for model in self.models:
            if name in (model.name, *model.aliases):
                if model in fitting:
                    return model
                problem = {"embedding": "is not an embedder", "reranker": "is not a reranker"}[str(kind)]
                raise UnknownModel(str(name), [m.name for m in fitting], problem)
        if name is None:
            raise UnknownModel(f"(any {kind})", [m.name for m in self.models], f"was asked for and no {kind} is served")
        raise UnknownModel(name, [m.name for m in fitting])

    def loadable(self, name: str, param: str, index: Index | None = None) -> str:
        """The folder or hub id of a model that a request names for an index. Raises NotAllowed."""
        known = {called for m in self.models for called in (*m.aliases, folder_of(m.path))}
        if index is not None:  # models of its generations were loaded before
            state = index.state
            known |= {g.model for g in state.generations} | ({state.rerank.model} if state.rerank else set())
        return self.allowed.model(name, param, [m.name for m in self.models], known)

    def _find_folders(self) -> Mapping[str, str]:
        called = {str(demo.folder(name)): name for name in demo.NAMES}
        called |= {folder_of(path): name for name, path in self.allowed.models.items() if name != path}
        for model in self.models:
            called |= {folder_of(model.path): model.name, str(model.loaded.checkpoint.folder): model.name}
        indexes = expanded(self.indexes_folder)
        called |= {str(folder): "" for folder in (self.indexes_folder, indexes.absolute(), indexes.resolve())}
        return {folder: name for folder, name in called.items() if folder.startswith("/")}

    async def resume(self) -> None:
        """Open every index, so that unfinished work in them continues. Indexes that fail to open are tried again."""
        assert self._indexes is not None  # set together with the engine
        while self.state == "ok":
            if not await self.in_index_thread("long", self._indexes.open_all):
                return
            await asyncio.sleep(REOPEN_SECONDS)

    def indexes(self) -> Indexes:
        """The indexes of this service's folder."""
        self.require_ready()
        assert self._indexes is not None  # set together with the engine
        return self._indexes

    async def in_index_thread(self, kind: IndexWork, work: Callable[[], T]) -> T:
        """Run blocking work in an index thread of this kind."""
        return await asyncio.get_running_loop().run_in_executor(self._pools[kind], work)

    def queues(self) -> Mapping[str, tuple[int, int]]:
        """Name of each model → (sequences, tokens) that wait for it."""
        return {m.name: self._engine.queue(m.name) for m in self.models} if self._engine else {}

    def begin_drain(self) -> None:
        """Take no new requests from now on."""
        self.state = "draining"

    def finish(self) -> None:
        """Wait until every accepted request is answered, then close the indexes and stop the engine."""
        for threads in self._pools.values():
            threads.shutdown(wait=True)
        if self._indexes is not None:
            self._indexes.close()
        if self._engine is not None:
            self._engine.drain()
            self._engine.close()
