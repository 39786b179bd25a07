"""From a request to its result: tokenise, admit, queue, batch, run.

`types` has the requests and results. `Engine` takes requests and owns all state: the tokenizer threads
(`tokenizer_threads`), the queues of all models (`work_queue`) and the thread that runs batches (`runner`). `scheduler`
and `admission` decide who runs next and who may wait; they are pure. `Embedder` and `Reranker` hold an engine with one
model, for use from Python.
"""

from upsize.engine.embedder import Embedder
from upsize.engine.engine import Engine
from upsize.engine.reranker import Ranked, Reranker
from upsize.engine.runner import Observer
from upsize.engine.types import UNLIMITED, EmbedRequest, Limits, Priority, Request, RerankRequest, Result, Times

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
