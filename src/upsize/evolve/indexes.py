"""Indexes: those of one folder, each opened when it is first wanted and kept open."""

from __future__ import annotations

import os
import re
import shutil
import threading
from pathlib import Path

from upsize.errors import InvalidInput, Refused, UnknownIndex
from upsize.evolve.index import Index, Setup, create_index
from upsize.evolve.models import Models
from upsize.evolve.state import FILE

VARIABLE = "UPSIZE_INDEXES"
"""Names another folder for indexes."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


def home() -> Path:
    """Where indexes lie: `UPSIZE_INDEXES`, or `upsize/indexes` in the user's data folder."""
    own = os.environ.get(VARIABLE)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(own) if own else Path(data) / "upsize" / "indexes"


class Indexes:
    """The indexes of a folder. Thread-safe."""

    def __init__(self, folder: Path, models: Models) -> None:
        self.folder, self._models = folder, models
        self._open: dict[str, Index] = {}
        self._turn = threading.RLock()

    def names(self) -> list[str]:
        """Of those that are there."""
        return sorted(p.parent.name for p in self.folder.glob(f"*/{FILE}"))

    def get(self, name: str) -> Index:
        """The index; UnknownIndex, or what opening it raises."""
        with self._turn:
            if name not in self._open:
                if not _NAME.fullmatch(name) or not (self.folder / name / FILE).is_file():
                    raise UnknownIndex(name, self.names(), self.folder)
                self._open[name] = Index(self.folder / name, self._models)
            return self._open[name]

    def create(self, setup: Setup) -> Index:
        """A new index; Refused where there is one of that name, InvalidInput for a name that cannot be one."""
        if not _NAME.fullmatch(setup.name) or setup.name.startswith("upsize_"):  # as the tables' names do
            raise InvalidInput(
                f"{setup.name!r} cannot name an index: a letter, then letters, digits, - and _, 40 at most, and not "
                "upsize_ in front.",
                param="name",
            )
        with self._turn:
            if (self.folder / setup.name / FILE).is_file():
                raise Refused(
                    f"There is an index {setup.name!r} in {self.folder} already. Choose another name, or drop it: "
                    f"upsize index drop {setup.name}."
                )
            create_index(self.folder / setup.name, self._models, setup)
            return self.get(setup.name)

    def drop(self, name: str) -> None:
        """Remove an index, its texts included."""
        with self._turn:
            index = self.get(name)
            for generation in index.state.generations:
                index.store.drop(generation.table(name))
            index.close()
            del self._open[name]
            (self.folder / name / FILE).unlink()  # from here on it is not there
            shutil.rmtree(self.folder / name)

    def close(self) -> None:
        """Close those that are open."""
        with self._turn:
            for index in self._open.values():
                index.close()
            self._open.clear()
