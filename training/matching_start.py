"""Initial weights of the reranker: a lexical matcher built by hand from learned token vectors.

A cross-encoder of this size does not find word matching by itself in the few thousand queries that two cores manage, so
it starts with it. The last twelve dimensions of the token vectors become channels; the rest stays as it was
learned.

- Layer 0: each token sees whether `<Query` and `<Document` stand before it; its MLP keeps the token's inverse document
  frequency where the token belongs to the query.
- Layer 1: each token attends to the tokens like it (by a random projection, and by the leading dimensions, in which
  translations and synonyms are near) and takes over that frequency: a document token learns how much it matches.
- Layer 2: every token averages these matches over the document; at the last position this is the score.
- Layer 3 and everything else start as small noise. All weights are trained from there.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .network import Qwen3, Size

CHANNELS = 12
QUERY_MARK, DOCUMENT_MARK, CONSTANT, FREQUENCY, AFTER_QUERY, AFTER_DOCUMENT, WANTED, MATCH, SCORE = range(-9, 0)
LOUD = 13.0  # a marker's channel: about the norm of a whole token vector
SHARP = 3.5  # weight of q_norm where attention is to pick one token out of hundreds


def inverse_frequencies(token_lists: list[np.ndarray], vocabulary: int) -> Tensor:
    """log(texts / texts with the token) of every token, divided by its largest value."""
    found = np.zeros(vocabulary)
    for tokens in token_lists:
        found[np.unique(tokens)] += 1
    values = np.log((len(token_lists) + 1) / (found + 1))
    return torch.from_numpy(values / values.max()).float()


def still(size: Size) -> list[int]:
    """The places of a head that rotary positions leave (nearly) alone over a few hundred tokens."""
    half = size.head_dim // 2
    return [*range(7, half), *range(half + 7, size.head_dim)]


@torch.no_grad()
def build(size: Size, tokens: Tensor, frequencies: Tensor, marks: tuple[int, int], answers: tuple[int, int]) -> Qwen3:
    """The reranker's initial model.

    Args:
        size: its shape.
        tokens: learned token vectors (vocabulary, at least hidden), the leading dimensions the most telling ones.
        frequencies: inverse document frequency of every token, 0 to 1.
        marks: ids of `<Query` and `<Document`.
        answers: ids of "yes" and "no".
    """
    model = Qwen3(size)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            quiet = name.endswith(("o_proj.weight", "down_proj.weight"))
            nn.init.normal_(weight, std=0.005 if quiet else 0.03, generator=generator)
    words = tokens[:, : size.hidden].clone()
    words = words / words.pow(2).mean(1, keepdim=True).sqrt()
    words[:, -CHANNELS:] = 0
    words[[*marks, *answers]] = 0
    words[:, CONSTANT] = 1
    words[:, FREQUENCY] = frequencies
    words[marks[0], QUERY_MARK] = words[marks[1], DOCUMENT_MARK] = LOUD
    words[answers[0], SCORE], words[answers[1], SCORE] = 1.0, -1.0
    model.embed_tokens.weight.copy_(words)

    dim, group, top = size.head_dim, size.heads // size.kv_heads, size.head_dim - 1
    unit = torch.eye(size.hidden)

    def head(
        layer: int, number: int, query: dict[int, Tensor], key: dict[int, Tensor], value: Tensor, into: int
    ) -> None:
        """Set a key/value head and its query heads: projection rows by place, the value, where it is written."""
        attention = model.layers[layer].self_attn
        for place in range(dim):
            attention.k_proj.weight[number * dim + place] = key.get(place, torch.zeros(size.hidden))
            for query_head in range(number * group, (number + 1) * group):
                attention.q_proj.weight[query_head * dim + place] = query.get(place, torch.zeros(size.hidden))
        attention.v_proj.weight[number * dim] = value
        for query_head in range(number * group, (number + 1) * group):
            attention.o_proj.weight[into, query_head * dim] = 1 / group

    for layer in range(3):
        model.layers[layer].self_attn.q_norm.weight.fill_(SHARP)
    flags = ((QUERY_MARK, AFTER_QUERY), (DOCUMENT_MARK, AFTER_DOCUMENT))
    for number, (mark, flag) in enumerate(flags):
        key = {top: unit[mark], top - 1: unit[CONSTANT]}
        head(0, number, {top: unit[CONSTANT]}, key, unit[mark] / LOUD, flag)
    mlp = model.layers[0].mlp
    mlp.gate_proj.weight[0] = 20 * (unit[FREQUENCY] + 3 * (unit[AFTER_QUERY] - unit[AFTER_DOCUMENT] - unit[CONSTANT]))
    mlp.up_proj.weight[0] = unit[CONSTANT] / 20
    mlp.down_proj.weight[WANTED, 0] = 1

    places = still(size)
    for number in range(size.kv_heads):
        if number < size.kv_heads // 2:
            rows = torch.randn(len(places), size.hidden, generator=generator) / size.hidden**0.5
        else:
            first = (number - size.kv_heads // 2) * len(places)
            rows = unit[first : first + len(places)].clone()
        rows[:, -CHANNELS:] = 0
        same = dict(zip(places, rows, strict=True))
        head(1, number, same, same, unit[WANTED], MATCH)
    key = {top: 3 * unit[AFTER_DOCUMENT], top - 1: unit[CONSTANT]}
    for number in range(size.kv_heads):
        head(2, number, {top: unit[CONSTANT]}, key, 10 * unit[MATCH], SCORE)
    return model
