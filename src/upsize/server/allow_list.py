"""What a caller over HTTP may name. A server opens no store, no folder and no repository that its operator did not."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from upsize import demo
from upsize.errors import InvalidInput
from upsize.folders import expanded
from upsize.store import ANY_STORE, Credentials, credentials_of

LOCAL_STORES = ("lancedb", "qdrant")
"""Those that lie in an index's own folder."""
ADDRESSES = ("postgresql://", "postgres://", "http://", "https://")


class NotAllowed(InvalidInput):
    """A store or a model that this server was not configured with."""


@dataclass(frozen=True)
class Allowed:
    """Stores and models that requests may name, beside those that are served and the demo models.

    What is looked up is the string alone: nothing is opened to answer a name that is not here.
    """

    stores: Mapping[str, str] = field(default_factory=dict)
    """Name → address."""
    models: Mapping[str, str] = field(default_factory=dict)
    """What a request may call a model → its folder or hub id."""
    names: Sequence[str] = ()
    """Of these models, one each."""
    anything: bool = False
    """For a process of the user's own, which opens what they name."""

    @property
    def credentials(self) -> Credentials:
        """Where secrets of the environment may be sent; InvalidInput where one would go to two servers."""
        return ANY_STORE if self.anything else credentials_of(self.stores.values())

    def store(self, asked: str) -> str:
        """The address of a store; NotAllowed for one that is not configured."""
        if self.anything or asked in LOCAL_STORES:
            return asked
        if asked in self.stores:
            return self.stores[asked]
        raise NotAllowed(
            f"store is {_shown(asked)}; this server knows {', '.join((*LOCAL_STORES, *self.stores))}. Another one has "
            "to be named when the server starts: upsize serve --store NAME=ADDRESS.",
            param="store",
        )

    def model(self, asked: str, param: str, served: Sequence[str], known: Collection[str]) -> str:
        """What loads a model. `served`: names of models that are served; `known`: what else may be asked for here.

        NotAllowed for any other, whether there is such a folder or repository or not.
        """
        if self.anything or asked in served or asked in known or asked in demo.NAMES:
            return asked
        if asked in self.models:
            return self.models[asked]
        names = dict.fromkeys((*served, *self.names, *demo.NAMES))
        raise NotAllowed(
            f"{param} is {_shown(asked)}; this server may load {', '.join(names)}. "
            "Another one has to be named when the server starts: upsize serve --allow-model MODEL.",
            param=param,
        )


def folder_of(path: str) -> str:
    """The whole path of a folder, which is what commands on this machine send; anything else as it is."""
    folder = expanded(path)
    return str(folder.resolve()) if os.path.isdir(folder) else path  # noqa: PTH112 (Path.is_dir may raise)


def _shown(asked: str) -> str:
    """A caller's words, bounded and without control characters."""
    return repr(asked if len(asked) <= 80 else f"{asked[:80]}…")
