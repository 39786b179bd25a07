"""From a request to its result: queue, batch, run.

`nouns` are what travels, `schedule` says who runs next (pure functions), `threads` holds every thread there is,
`Engine` is the door. `Embedder` and `Reranker` are the same engine for a Python program of its own.
"""

from upsize.engine.embedder import Embedder
from upsize.engine.engine import UNLIMITED, Engine, Limits
from upsize.engine.reranker import Ranked, Reranker
from upsize.engine.runner import Observer
from upsize.engine.types import EmbedRequest, Priority, Request, RerankRequest, Result, Times

__all__ = [
    "UNLIMITED",
    "EmbedRequest",
    "Embedder",
    "Engine",
    "Limits",
    "Observer",
    "Priority",
    "Ranked",
    "Request",
    "RerankRequest",
    "Reranker",
    "Result",
    "Times",
]
