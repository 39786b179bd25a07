"""Creation of an index, and of its generations."""

from __future__ import annotations

import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from upsize.errors import InvalidInput
from upsize.index.disk import on_disk, require_room
from upsize.index.models import ModelPool
from upsize.index.state import Generation, State, current_schema, now, write_state
from upsize.model import check_dimension
from upsize.store import ANY_STORE, Credentials, Store, open_store

VECTORS = "vectors"
"""Folder of the tables, where the store is a folder."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
LEAST_COARSE = 32
"""Smallest coarse dimension: the smallest that these models are trained for."""
EMPTY = 1 << 20
"""Bytes that an empty index takes, logs of its databases included (chosen, generous)."""


@dataclass(frozen=True)
class VectorSpec:
    """The vectors of a new generation. None stands for the model's default."""

    model: str
    dtype: str = "auto"
    dimension: int | None = None
    coarse: int | None = None
    """Dimension of coarse vectors, which are kept too: the first values, normalised."""
    max_length: int | None = None


@dataclass(frozen=True)
class Setup:
    """Settings of a new index."""

    name: str
    vectors: VectorSpec
    store: str = "lancedb"
    truncate: bool = False
    instruction: str | None = None


def check_name(name: str) -> None:
    """Raise InvalidInput unless an index may have this name."""
    if not NAME.fullmatch(name) or name.startswith("upsize_"):  # reserved for the names of tables
        raise InvalidInput(
            f"{name!r:.80} cannot name an index: a letter, then letters, digits, - and _, 40 at most, and not upsize_ "
            "in front.",
            param="name",
        )


def check_coarse(coarse: int | None, size: int) -> None:
    """Raise InvalidInput unless it is None, or at least LEAST_COARSE and less than the vectors' dimension."""
    if coarse is not None and not LEAST_COARSE <= coarse < size:
        raise InvalidInput(f"coarse is {coarse}; give {LEAST_COARSE} or more, and less than {size}.", param="coarse")


def new_generation(models: ModelPool, store: Store, id: str, wanted: VectorSpec, user: str) -> Generation:
    """A generation for these vectors. Loads the model. Raises InvalidInput where the store cannot hold them."""
    model = wanted.model
    loaded = models.loaded(models.embedder(model, user, wanted.dtype, wanted.max_length))
    size = check_dimension(wanted.dimension, loaded.checkpoint.config.hidden_size)
    if store.largest_dimension is not None and size > store.largest_dimension:
        raise InvalidInput(
            f"{model} gives {size:,} dimensions and {store.kind} indexes {store.largest_dimension:,} at most: use "
            f"--dim {store.largest_dimension} (these models may be cut).",
            param="dimensions",
        )
    check_coarse(wanted.coarse, size)
    fingerprint = loaded.fingerprint.at(size)
    precision, longest = loaded.plan.precision, loaded.plan.max_length
    return Generation(id, models.path(model), precision, longest, fingerprint, wanted.coarse, now())


def create_index(folder: Path, models: ModelPool, setup: Setup, credentials: Credentials = ANY_STORE) -> None:
    """Create an index. It exists once its state is written; nothing is left where this fails."""
    with on_disk(folder):
        if folder.exists():  # left by a crash during a creation or a drop; kept under another name
            folder.rename(folder.with_name(f".{folder.name}.left-{secrets.token_hex(4)}"))
        folder.mkdir(parents=True)
        try:
            require_room(folder, EMPTY)
            _create_in(folder, models, setup, credentials)
        except BaseException:
            shutil.rmtree(folder)
            raise


def _create_in(folder: Path, models: ModelPool, setup: Setup, credentials: Credentials) -> None:
    store: Store | None = None
    state: State | None = None
    alias_published = False
    try:
        store = open_store(setup.store, folder / VECTORS, credentials)
        first = new_generation(models, store, "g1", setup.vectors, setup.name)
        state = State(
            schema=current_schema(),
            name=setup.name,
            key=secrets.token_hex(3),
            created=now(),
            store=setup.store,
            generations=(first,),
            active=first.id,
            truncate=setup.truncate,
            instruction=setup.instruction,
        )
        store.create(state.table(first))
        store.publish_alias(setup.name, state.table(first), state.tables)
        alias_published = True
        write_state(folder, state)
    except BaseException:
        if store and state and alias_published:
            store.publish_alias(setup.name, None, state.tables)
        if store and state:
            store.drop(state.table(state.serving))
        raise
    finally:
        if store:
            store.close()
