"""Published outputs of the real weights (docs/sources.md §5): what `upsize verify` holds a checkpoint against."""

from __future__ import annotations

QUERIES = ("What is the capital of China?", "Explain gravity")
DOCUMENTS = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is "
    "responsible for the movement of planets around the sun.",
)

COSINES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "Qwen3-Embedding-0.6B": ((0.7646, 0.1414), (0.1355, 0.6000)),
    "Qwen3-Embedding-4B": ((0.7534, 0.1147), (0.0320, 0.6258)),
    "Qwen3-Embedding-8B": ((0.7493, 0.0751), (0.0880, 0.6318)),
}
"""Cosines of QUERIES (rows, default instruction) and DOCUMENTS (columns)."""

COSINE_TOLERANCE = {"float32": 0.003, "bfloat16": 0.003, "float16": 0.003, "int8": 0.02}

LOG_ODDS: dict[str, tuple[float, float]] = {
    "Qwen3-Reranker-0.6B": (7.625, -11.375),
    "Qwen3-Reranker-4B": (6.4375, -14.375),
}
"""Log-odds of QUERIES[0] against both DOCUMENTS, read in bf16."""

LOG_ODDS_TOLERANCE = 0.25
"""bf16 has 8 bits of mantissa: near 11, two logits are each rounded to 1/16, and the layers before add theirs."""

TOKEN_IDS: dict[str, tuple[int, ...]] = {
    "The capital of China is Beijing.": (785, 6722, 315, 5616, 374, 26549, 13, 151643),
    "What is Deep Learning?": (3838, 374, 18183, 20909, 30, 151643),
    "why is the sky blue?": (34634, 374, 279, 12884, 6303, 30, 151643),
}
"""Ids of documents with the appended end token, the same in all six checkpoints."""

QUERY_IDS: tuple[int, ...] = (
    641, 1235, 25, 16246, 264, 3482, 2711, 3239, 11, 17179, 9760, 46769, 429, 4226, 279, 3239, 198, 2859, 25,
    3838, 374, 279, 6722, 315, 5616, 30, 151643,
)  # fmt: skip
"""Ids of QUERIES[0] with the default instruction before it."""

RERANK_PREFIX_IDS: tuple[int, ...] = (
    151644, 8948, 198, 60256, 3425, 279, 11789, 20027, 279, 8502, 3118, 389, 279, 11361, 323, 279, 758, 1235, 3897, 13,
    7036, 429, 279, 4226, 646, 1172, 387, 330, 9693, 1, 476, 330, 2152, 3263, 151645, 198, 151644, 872, 198,
)  # fmt: skip
RERANK_SUFFIX_IDS: tuple[int, ...] = (151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271)
"""Ids of the rerank template's two ends."""
