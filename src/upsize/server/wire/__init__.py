"""One file a dialect: its bodies, its replies, its endpoints. A new dialect is a new file, and a line here."""

from upsize.server.handling import Operation
from upsize.server.wire import indexes, moves, openai, rerank, sglang

OPERATIONS: tuple[Operation, ...] = (
    *openai.OPERATIONS,
    *rerank.OPERATIONS,
    *sglang.OPERATIONS,
    *indexes.OPERATIONS,
    *moves.OPERATIONS,
)

__all__ = ["OPERATIONS"]
