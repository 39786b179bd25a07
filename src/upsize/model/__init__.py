"""One checkpoint, and nothing of devices, queues or servers.

`locate` finds the folder, `open_checkpoint` reads and checks it, `encoding` turns texts into ids, `heads` makes vectors
and scores of a network's last states. The network itself is in `compute`.
"""

from upsize.model.checkpoint import Checkpoint, open_checkpoint
from upsize.model.encoding import Encoded
from upsize.model.hub import HubOptions, locate
from upsize.model.pooling import check_dimension, probability, require_finite, rerank_score_weight, unit_vectors
from upsize.model.prompts import EmbeddingPrompts, RerankPrompts, Truncation

__all__ = [
    "Checkpoint",
    "EmbeddingPrompts",
    "Encoded",
    "HubOptions",
    "RerankPrompts",
    "Truncation",
    "check_dimension",
    "locate",
    "open_checkpoint",
    "probability",
    "require_finite",
    "rerank_score_weight",
    "unit_vectors",
]
