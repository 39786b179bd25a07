"""Stores and models that HTTP requests may name. A server opens nothing that its operator did not configure."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from upsize import demo
from upsize.errors import InvalidInput
from upsize.folders import expanded
from upsize.store import ANY_STORE, Credentials, credentials_of

LOCAL_STORES = ("lancedb", "qdrant")
"""Stores whose files lie in the index's own folder."""
ADDRESSES = ("postgresql://", "postgres://", "http://", "https://")


class NotAllowed(InvalidInput):
    """A request names a store or a model that this server does not allow."""


@dataclass(frozen=True)
class Allowed:
    """Stores and models that requests may name, besides the served models and the demo models.

    Only the strings are compared. Nothing is opened to check a name.
    """

    stores: Mapping[str, str] = field(default_factory=dict)
    """Name → address."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Name in a request → folder or hub id."""
    names: Sequence[str] = ()
    """The name of each of these models that messages show."""
    anything: bool = False
    """Allow everything: the process belongs to the user who sends the requests."""

    @property
    def credentials(self) -> Credentials:
        """Where secrets of the environment may be sent. InvalidInput if one secret would go to two servers."""
        return ANY_STORE if self.anything else credentials_of(self.stores.values())

    def store(self, name: str) -> str:
        """The address of a store. Raises NotAllowed for a store that is not configured."""
        if self.anything or name in LOCAL_STORES:
            return name
        if name in self.stores:
            return self.stores[name]
        raise NotAllowed(
            f"store is {_quoted(name)}; this server knows {', '.join((*LOCAL_STORES, *self.stores))}. To allow another "
            "one, start the server with --store NAME=ADDRESS.",
            param="store",
        )

    def model(self, name: str, param: str, served: Sequence[str], known: Collection[str]) -> str:
        """The folder or hub id of a model that a request names in `param`.

        `served`: names of served models. `known`: further names that are allowed. Raises NotAllowed for any other name,
        whether such a folder or repository exists or not.
        """
        if self.anything or name in served or name in known or name in demo.NAMES:
            return name
        if name in self.models:
            return self.models[name]
        names = dict.fromkeys((*served, *self.names, *demo.NAMES))
        raise NotAllowed(
            f"{param} is {_quoted(name)}; this server may load {', '.join(names)}. "
            "To allow another one, start the server with --allow-model MODEL.",
            param=param,
        )


def folder_of(path: str) -> str:
    """The absolute path of a folder, as commands on this machine send it. Anything that is no folder is unchanged."""
    folder = expanded(path)
    return str(folder.resolve()) if os.path.isdir(folder) else path  # noqa: PTH112 (Path.is_dir may raise)


def _quoted(name: str) -> str:
    """A caller's text, shortened and without control characters."""
    return repr(name if len(name) <= 80 else f"{name[:80]}…")
