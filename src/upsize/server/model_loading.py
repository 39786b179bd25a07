"""Parses the models, stores and names of the command line, and loads the models."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from upsize.catalog import Kind
from upsize.compute import LoadedModel, load_model
from upsize.errors import InvalidInput
from upsize.model import HubOptions
from upsize.server.allow_list import ADDRESSES, LOCAL_STORES, Allowed, folder_of
from upsize.server.service import ServedModel
from upsize.store import credentials_of

log = logging.getLogger("upsize.server")

_STORE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True)
class ModelToServe:
    """A model of the command line, with the names by which clients may call it."""

    path: str
    name: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class LoadOptions:
    """Options for every model of a service. None and "auto" are derived from model and machine."""

    device: str = "auto"
    dtype: str = "auto"
    kind: Kind | None = None
    max_length: int | None = None
    budget: int | None = None
    hub: HubOptions = field(default_factory=HubOptions)


def parse_models(models: Sequence[str], served_names: Sequence[str] = ()) -> tuple[ModelToServe, ...]:
    """Parse `[name=]model` arguments.

    A model's default name is the last part of its path. The whole path is an alias. `served_names` replaces the names,
    in the same order. Raises InvalidInput for a name that two models share.
    """
    if served_names and len(served_names) != len(models):
        raise InvalidInput(
            f"{len(models)} models and {len(served_names)} of --served-model-name: give one for each model.",
            param="served_model_name",
        )
    result = []
    for place, given in enumerate(models):
        # A folder may have "=" in its name (size=0.6b), so an existing folder has no name before it.
        name, _, path = given.partition("=") if "=" in given and not Path(given).is_dir() else ("", "", given)
        last = _default_name(path)
        name = served_names[place] if served_names else name or last
        result.append(ModelToServe(path, name, tuple(dict.fromkeys(a for a in (last, path) if a != name))))
    names = [m.name for m in result]
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise InvalidInput(f"Two models are called {repeated[0]!r}. Give them names: NAME=MODEL.", param="model")
    # A name of one model is no alias of another, and an alias that two models share belongs to neither.
    aliases = [a for m in result for a in m.aliases]
    return tuple(
        ModelToServe(m.path, m.name, tuple(a for a in m.aliases if a not in names and aliases.count(a) == 1))
        for m in result
    )


def parse_allowed(stores: Sequence[str] = (), models: Sequence[str] = ()) -> Allowed:
    """Parse `--store NAME=ADDRESS` and `--allow-model [NAME=]MODEL`. Raises InvalidInput."""
    addresses: dict[str, str] = {}
    for given in stores:
        name, _, address = given.partition("=")
        if not _STORE_NAME.fullmatch(name) or name in (*LOCAL_STORES, *addresses) or not address.startswith(ADDRESSES):
            raise InvalidInput(
                f"--store {name}=…: write NAME=ADDRESS. The name is unique and has letters, digits, - and _. The "
                f"address begins with {', '.join(ADDRESSES)}. {' and '.join(LOCAL_STORES)} need no entry."
            )
        addresses[name] = address
    called: dict[str, str] = {}
    chosen = parse_models(models)
    for model in chosen:
        path = folder_of(model.path)
        called |= dict.fromkeys((model.name, *model.aliases, path), path)
    credentials_of(addresses.values())
    return Allowed(addresses, called, tuple(model.name for model in chosen))


def _default_name(path: str) -> str:
    """The last part of a path. A snapshot in the Hugging Face cache is named by its repository, not its commit."""
    parts = (Path(path).resolve() if Path(path).name in ("", "..") else Path(path)).parts
    if len(parts) >= 3 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].split("--")[-1]
    return parts[-1] if parts else path


def load_models(
    models: Sequence[ModelToServe], options: LoadOptions, on_loaded: Callable[[ServedModel], None]
) -> tuple[ServedModel, ...]:
    """Load the models one after another, and call `on_loaded` after each."""
    result = []
    for one in models:
        model: LoadedModel = load_model(
            one.path,
            kind=options.kind,
            device=options.device,
            dtype=options.dtype,
            max_length=options.max_length,
            budget=options.budget,
            hub=options.hub,
        )
        for note in model.plan.notes:
            log.warning("%s: %s", one.name, note)
        result.append(ServedModel(one.name, one.path, one.aliases, model))
        on_loaded(result[-1])
    return tuple(result)
