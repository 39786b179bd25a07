"""Service: what the handlers share. The models under the names that clients call them by, and the state of it all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from upsize import demo
from upsize.catalog import Kind
from upsize.compute import LoadedModel
from upsize.engine import Engine, Limits, Request, Result
from upsize.errors import Unavailable, UnknownModel
from upsize.folders import expanded
from upsize.index import Index, Indexes, ModelPool, home
from upsize.server.allow_list import Allowed, folder_of
from upsize.server.metrics import Metrics

OPEN_AGAIN = 30.0
"""Seconds until an index that could not be opened is tried again: another process had it, or its store was away."""
State = Literal["starting", "ok", "draining"]
T = TypeVar("T")

Priority = Literal["search", "write", "move", "long"]
PRIORITY_THREADS: Mapping[Priority, int] = {"search": 16, "write": 8, "move": 2, "long": 4}
"""Calls to indexes at once. Each kind has threads of its own: no write keeps a search or a switch waiting, and no plan
a write."""


@dataclass(frozen=True)
class ServedModel:
    """A model in the service. `name` is what replies carry; clients may also use any of `aliases`."""

    name: str
    path: str
    """What the user gave: a hub id, a folder, or a demo name."""
    aliases: tuple[str, ...]
    loaded: LoadedModel

    @property
    def kind(self) -> Kind:
        """Embedder or reranker."""
        return self.loaded.checkpoint.kind


@dataclass
class Service:
    """Starts empty, so that `/health` answers while models load; `start` makes it ready."""

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
    """Folder → what clients call it, "" for that of the indexes; found at the start."""
    fills: bool = True
    """Whether generations are filled beside the answers."""
    _engine: Engine | None = None
    _indexes: Indexes | None = None
    _pools: dict[str, ThreadPoolExecutor] = field(
        default_factory=lambda: {
            priority: ThreadPoolExecutor(threads, thread_name_prefix=f"upsize-{priority}")
            for priority, threads in PRIORITY_THREADS.items()
        }
    )

    def start(self, models: tuple[ServedModel, ...]) -> None:
        """Serve these models from now on."""
        self._engine = Engine({m.name: m.loaded for m in models}, self.limits, self.metrics)
        served = {called: (m.name, m.path) for m in models for called in (m.name, *m.aliases)}
        self._indexes = Indexes(
            self.indexes_folder,
            ModelPool(self._engine, served),
            background=self.fills,
            credentials=self.allowed.credentials,
        )
        self.models = models
        self.folders = self._find_folders()
        self.metrics.watch(self._engine, {m.name: m.loaded for m in models}, self._indexes)
        if self.state == "starting":
            self.state = "ok"

    def require_ready(self) -> Engine:
        """The engine; Unavailable while the models are loading or the service drains."""
        if self._engine is None or self.state != "ok":
            doing = "loading its models" if self.state == "starting" else "draining and takes no new requests"
            raise Unavailable(f"The service is {doing}.")
        return self._engine

    def model(self, wanted: str | None, kind: Kind | None = None) -> ServedModel:
        """The model that a client means; None means the first of the kind. UnknownModel tells which there are."""
        self.require_ready()
        fitting = [m for m in self.models if kind in (None, m.kind)]
        if wanted is None and fitting:
            return fitting[0]
        for model in self.models:
            if wanted == model.name or wanted in model.aliases:
                if model in fitting:
                    return model
                need = {"embedding": "is not an embedder", "reranker": "is not a reranker"}[str(kind)]
                raise UnknownModel(str(wanted), [m.name for m in fitting], need)
        if wanted is None:
            raise UnknownModel(f"(any {kind})", [m.name for m in self.models], f"was asked for and no {kind} is served")
        raise UnknownModel(wanted, [m.name for m in fitting])

    def loadable(self, asked: str, param: str, index: Index | None = None) -> str:
        """The model that a request names for an index, to be loaded if need be; NotAllowed."""
        known = {called for m in self.models for called in (*m.aliases, folder_of(m.path))}
        if index is not None:  # which has loaded them before
            state = index.state
            known |= {g.model for g in state.generations} | ({state.rerank.model} if state.rerank else set())
        return self.allowed.model(asked, param, [m.name for m in self.models], known)

    def _find_folders(self) -> Mapping[str, str]:
        called = {str(demo.folder(name)): name for name in demo.NAMES}
        called |= {folder_of(path): name for name, path in self.allowed.models.items() if name != path}
        for model in self.models:
            called |= {folder_of(model.path): model.name, str(model.loaded.checkpoint.folder): model.name}
        indexes = expanded(self.indexes_folder)
        called |= {str(folder): "" for folder in (self.indexes_folder, indexes.absolute(), indexes.resolve())}
        return {folder: name for folder, name in called.items() if folder.startswith("/")}

    def submit(self, model: ServedModel, request: Request) -> Future[Result]:
        """Start a request; the future gets its result."""
        return self.require_ready().submit(model.name, request)

    async def resume(self) -> None:
        """Open every index, so that what was left undone in them goes on; those that cannot be opened, again later."""
        assert self._indexes is not None  # made with the engine
        while self.state == "ok":
            if not await self.beside("long", self._indexes.open_all):
                return
            await asyncio.sleep(OPEN_AGAIN)

    def indexes(self) -> Indexes:
        """The indexes of this service's folder."""
        self.require_ready()
        assert self._indexes is not None  # made with the engine
        return self._indexes

    async def beside(self, priority: Priority, work: Callable[[], T]) -> T:
        """Do what blocks in one of the threads for indexes."""
        return await asyncio.get_running_loop().run_in_executor(self._pools[priority], work)

    def queues(self) -> Mapping[str, tuple[int, int]]:
        """Name → (sequences, tokens) that wait."""
        return {m.name: self._engine.queue(m.name) for m in self.models} if self._engine else {}

    def begin_drain(self) -> None:
        """Take nothing new from now on."""
        self.state = "draining"

    def finish(self) -> None:
        """Wait until everything accepted is answered, then close the indexes and stop the engine."""
        for threads in self._pools.values():
            threads.shutdown(wait=True)
        if self._indexes is not None:
            self._indexes.close()
        if self._engine is not None:
            self._engine.drain()
            self._engine.close()
