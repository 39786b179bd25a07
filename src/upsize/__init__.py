"""upsize: serve the Qwen3 Embedding and Reranker family, know when a larger size pays, move up without downtime.

>>> from upsize import Embedder, Reranker
"""

from typing import TYPE_CHECKING, Any

from upsize import errors
from upsize.space import Fingerprint

if TYPE_CHECKING:
    from upsize.choose import Room, Verdict
    from upsize.engine import Embedder, Ranked, Reranker

    choose: Room

__version__ = "0.1.0"

__all__ = ["Embedder", "Fingerprint", "Ranked", "Reranker", "Verdict", "__version__", "choose", "errors"]


def __getattr__(name: str) -> Any:
    """Load the engine only when a model is wanted: `upsize --help` and error handling do without."""
    if name in ("Embedder", "Ranked", "Reranker"):
        from upsize import engine

        return getattr(engine, name)
    if name in ("Verdict", "choose"):
        import importlib

        room = importlib.import_module("upsize.choose")
        return room if name == "choose" else room.Verdict
    raise AttributeError(f"module 'upsize' has no attribute {name!r}")
