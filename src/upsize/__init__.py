"""upsize: serve the Qwen3 Embedding and Reranker family, know when a larger size pays, move up without downtime.

>>> from upsize import Embedder, Reranker
"""

from typing import TYPE_CHECKING, Any

from upsize import errors
from upsize.fingerprint import Fingerprint
from upsize.version import __version__

if TYPE_CHECKING:
    from upsize.engine import Embedder, Ranked, Reranker
    from upsize.selection import Verdict, choose

__all__ = ["Embedder", "Fingerprint", "Ranked", "Reranker", "Verdict", "__version__", "choose", "errors"]

_ENGINE = ("Embedder", "Ranked", "Reranker")
_SELECTION = ("Verdict", "choose")


def __getattr__(name: str) -> Any:
    """Import the engine and the selection when they are first used, so that `upsize --help` starts fast."""
    if name in _ENGINE:
        from upsize import engine

        return getattr(engine, name)
    if name in _SELECTION:
        from upsize import selection

        return getattr(selection, name)
    raise AttributeError(f"module 'upsize' has no attribute {name!r}")
