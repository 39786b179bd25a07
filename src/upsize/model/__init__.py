"""One checkpoint, and nothing of devices, queues or servers.

`locate` finds the folder, `open_checkpoint` reads and checks it, `prompts` turns texts into ids, `Qwen3` is the
network over a `Backend` that someone else supplies, `heads` makes vectors and scores of its states.
"""

from upsize.model.checkpoint import Checkpoint, open_checkpoint
from upsize.model.heads import check_dimension, probability, rerank_direction, unit_vectors
from upsize.model.hub import HubOptions, locate
from upsize.model.network import Backend, Linear, Qwen3
from upsize.model.prompts import EmbeddingPrompts, Encoded, RerankPrompts, Truncation

__all__ = [
    "Backend",
    "Checkpoint",
    "EmbeddingPrompts",
    "Encoded",
    "HubOptions",
    "Linear",
    "Qwen3",
    "RerankPrompts",
    "Truncation",
    "check_dimension",
    "locate",
    "open_checkpoint",
    "probability",
    "rerank_direction",
    "unit_vectors",
]
