"""From what the command line names to models in the service."""

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
    """A model to serve, as the user names it."""

    path: str
    name: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class LoadOptions:
    """What holds for every model of a service; None and "auto" are derived."""

    device: str = "auto"
    dtype: str = "auto"
    kind: Kind | None = None
    max_length: int | None = None
    budget: int | None = None
    hub: HubOptions = field(default_factory=HubOptions)


def wanted(models: Sequence[str], served_names: Sequence[str] = ()) -> tuple[ModelToServe, ...]:
    """What `[name=]model` arguments mean. A model is called by its last part, and may be called by the whole.

    `served_names`, where given, are the names in the same order. InvalidInput for a name that two models share.
    """
    if served_names and len(served_names) != len(models):
        raise InvalidInput(
            f"{len(models)} models and {len(served_names)} of --served-model-name: give one for each model.",
            param="served_model_name",
        )
    result = []
    for place, given in enumerate(models):
        # A folder may have "=" in its name (size=0.6b); only before the first one may stand a name.
        name, _, path = given.partition("=") if "=" in given and not Path(given).is_dir() else ("", "", given)
        last = _called(path)
        name = served_names[place] if served_names else name or last
        result.append(ModelToServe(path, name, tuple(dict.fromkeys(a for a in (last, path) if a != name))))
    names = [w.name for w in result]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InvalidInput(f"Two models are called {twice[0]!r}. Give them names: NAME=MODEL.", param="model")
    # A name belongs to its model alone, and an alias that two models share to neither.
    every = [a for w in result for a in w.aliases]
    return tuple(
        ModelToServe(w.path, w.name, tuple(a for a in w.aliases if a not in names and every.count(a) == 1))
        for w in result
    )


def read_allowed(stores: Sequence[str] = (), models: Sequence[str] = ()) -> Allowed:
    """What `--store NAME=ADDRESS` and `--allow-model [NAME=]MODEL` say; InvalidInput."""
    addresses: dict[str, str] = {}
    for given in stores:
        name, _, address = given.partition("=")
        if not _STORE_NAME.fullmatch(name) or name in (*LOCAL_STORES, *addresses) or not address.startswith(ADDRESSES):
            raise InvalidInput(
                f"--store {name}=…: write NAME=ADDRESS with a name of its own (letters, digits, - and _) and an "
                f"address that begins with {', '.join(ADDRESSES)}; {' and '.join(LOCAL_STORES)} need no entry."
            )
        addresses[name] = address
    called: dict[str, str] = {}
    chosen = wanted(models)
    for model in chosen:
        path = folder_of(model.path)
        called |= dict.fromkeys((model.name, *model.aliases, path), path)
    credentials_of(addresses.values())
    return Allowed(addresses, called, tuple(model.name for model in chosen))


def _called(path: str) -> str:
    """The last part of a model's path; of a snapshot in Hugging Face's cache the repository's name, not its commit."""
    parts = (Path(path).resolve() if Path(path).name in ("", "..") else Path(path)).parts
    if len(parts) >= 3 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].split("--")[-1]
    return parts[-1] if parts else path


def load(
    models: Sequence[ModelToServe], options: LoadOptions, loaded: Callable[[ServedModel], None]
) -> tuple[ServedModel, ...]:
    """Load the models one after another; `loaded` hears of each."""
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
        loaded(result[-1])
    return tuple(result)
