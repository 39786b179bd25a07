"""The user's folders for caches and data, also for a user without a home folder or with a read-only one.

No function here raises for the lack of a home folder. It returns a private folder under the system's temporary folder
instead, and a warning names the consequence. A folder that the environment names (`UPSIZE_CACHE`, `UPSIZE_INDEXES`) is
used as it is.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

CACHE_VARIABLE = "UPSIZE_CACHE"
"""Environment variable that names another cache folder."""
_HUB_HOMES = {"huggingface": ("HF_HOME", "HF_HUB_CACHE"), "modelscope": ("MODELSCOPE_CACHE",)}
"""Hub → environment variables that name its library's cache. `provide_hub_home` sets the first."""


def cache_folder() -> Path:
    """Return the folder of packed weights and digests: `UPSIZE_CACHE`, or `upsize` in the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    parent = _of_user("XDG_CACHE_HOME", ".cache")
    consequence = f"packed weights in it are made again once it is cleaned; set {CACHE_VARIABLE} to a folder that stays"
    return _usable(parent and parent / "upsize", "cache", consequence)


def data_folder() -> Path:
    """Return the folder of data that must persist: `upsize` in the user's data folder."""
    parent = _of_user("XDG_DATA_HOME", ".local/share")
    consequence = "indexes in it are lost when it is cleaned; set UPSIZE_INDEXES to a folder that stays"
    return _usable(parent and parent / "upsize", "data", consequence)


def provide_hub_home(hub: str = "huggingface") -> None:
    """Set the variable that names a hub library's cache for this process, where its own default cannot be written.

    `hub` is huggingface or modelscope. Call it before the library is imported, which reads the variable once. Without
    a home Hugging Face's default is a folder named `~` in the working directory, and ModelScope's raises.
    """
    variable, *others = _HUB_HOMES[hub]
    if any(os.environ.get(name) for name in (variable, *others)):
        return
    parent = _of_user("XDG_CACHE_HOME" if hub == "huggingface" else None, ".cache")
    wanted = parent and parent / hub
    consequence = f"models in it are downloaded again once it is cleaned; set {variable} to a folder that stays"
    folder = _usable(wanted, hub, consequence)
    if folder != wanted:
        os.environ[variable] = str(folder)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return `path` with a leading `~` resolved, or unchanged if that home folder is unknown."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path.expanduser raises for a user without a home)


def _of_user(variable: str | None, below_home: str) -> Path | None:
    """The folder that an XDG variable names, or its default below the home; None for a user without a home."""
    if named := variable and os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / below_home
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None


def _usable(wanted: Path | None, purpose: str, consequence: str) -> Path:
    """Return `wanted` if it exists or can be made, otherwise a temporary folder."""
    if wanted is not None and (os.path.isdir(wanted) or _can_be_made(wanted)):  # noqa: PTH112 (Path.is_dir may raise)
        return wanted
    return _temporary(wanted, purpose, consequence)


def _can_be_made(folder: Path) -> bool:
    """Whether the nearest folder above it that exists may be written to."""
    for above in folder.absolute().parents:
        try:
            if above.exists():
                return above.is_dir() and os.access(above, os.W_OK | os.X_OK)
        except OSError:  # the folder above may not be searched
            return False
    return False


@cache
def _temporary(wanted: Path | None, purpose: str, consequence: str) -> Path:
    """A folder for `purpose` that belongs to this user alone. It is the same for all processes of the user."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    try:
        private = Path(tempfile.gettempdir()) / f"upsize-{user}"
        if not _private(private):  # somebody else made it, and could put files of their own there
            private = Path(tempfile.mkdtemp(prefix="upsize-"))
    except OSError:  # no folder is writable; the first write fails
        private = Path("/tmp") / f"upsize-{user}"
    reason = f"{wanted} cannot be written" if wanted else "this user has no home folder"
    log.warning("%s, so %s is used; %s", reason, private / purpose, consequence)
    return private / purpose


def _private(folder: Path) -> bool:
    """Make a folder that only this user may enter; return whether it is one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and mine and not found.st_mode & 0o077
