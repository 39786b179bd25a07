"""One file for each dialect, with its bodies, replies and endpoints. A new dialect is a new file and a line here."""

from upsize.server.dialects import indexes, moves, openai, rerank, sglang
from upsize.server.endpoint import Operation

OPERATIONS: tuple[Operation, ...] = (
    *openai.OPERATIONS,
    *rerank.OPERATIONS,
    *sglang.OPERATIONS,
    *indexes.OPERATIONS,
    *moves.OPERATIONS,
)

__all__ = ["OPERATIONS"]
