"""A turn of a trained model's output space after which its leading dimensions tell more; whole vectors keep their
angles.

The contrast at several dimensions moves a network's weights towards that slowly. An orthogonal matrix alone is learned
in minutes, on vectors computed once, and goes into the weights without a trace: every matrix that reads the states or
writes to them is turned with them.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import orthogonal

from .losses import pair_loss, within_loss
from .network import CHANNELS, Qwen3
from .streams import DistilBatch, PairBatch

PAIR_BATCHES, DISTIL_BATCHES = 400, 200
STEPS = 3000
LEARNING_RATE = 1e-3


class Asked(NamedTuple):
    """The vectors of a contrastive batch."""

    queries: Tensor
    passages: Tensor
    allowed: Tensor


class Met(NamedTuple):
    """The vectors of a distillation batch, and the teacher's."""

    ours: Tensor
    theirs: Tensor


@torch.no_grad()
def vectors(model: Qwen3, texts: Iterator[DistilBatch], asked: Iterator[PairBatch]) -> tuple[list[Asked], list[Met]]:
    """What the finished model says of training batches, without its channels, on which no output is."""

    def encode(ids: Tensor, last: Tensor) -> Tensor:
        return F.normalize(model(ids, last)[:, 0, :-CHANNELS], dim=1).clone()

    pairs = [
        Asked(encode(b.query_ids, b.query_last), encode(b.passage_ids, b.passage_last), b.allowed)
        for b in islice(asked, PAIR_BATCHES)
    ]
    met = [Met(encode(b.ids, b.last), b.targets) for b in islice(texts, DISTIL_BATCHES)]
    return pairs, met


def learned(
    pairs: Sequence[Asked], met: Sequence[Met], dimensions: Sequence[int], seed: int, steps: int = STEPS
) -> Tensor:
    """The orthogonal matrix (outputs, outputs) whose leading dimensions find and compare best, cut at `dimensions`."""
    size = pairs[0].queries.shape[1]
    torch.manual_seed(seed)
    turn = nn.Linear(size, size, bias=False)
    with torch.no_grad():
        turn.weight.copy_(torch.eye(size))
    orthogonal(turn, orthogonal_map="matrix_exp")
    optimizer = torch.optim.Adam(turn.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        pair, text = pairs[torch.randint(len(pairs), ())], met[torch.randint(len(met), ())]
        loss = pair_loss(turn(pair.queries), turn(pair.passages), pair.allowed, dimensions)
        loss = loss + within_loss(turn(text.ours), text.theirs, dimensions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 500 == 499:
            print(f"turn, step {step + 1} of {steps}: {loss.item():.4f}", flush=True)
    return turn.weight.detach().T


def folded(model: Qwen3, turn: Tensor) -> Qwen3:
    """A copy that gives `turn`ed vectors. Exact: norms' weights go into the matrices behind them, and the last norm's,
    which cannot, is one and is not trained.

    Args:
        model: a trained one.
        turn: (outputs, outputs), orthogonal; the channels behind them stay where they are.
    """
    copy = Qwen3(model.size)
    copy.load_state_dict(model.state_dict())
    whole = torch.block_diag(turn, torch.eye(CHANNELS))
    with torch.no_grad():
        copy.embed_tokens.weight.copy_(copy.embed_tokens.weight @ whole)
        for layer in copy.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for norm, readers in (
                (layer.input_layernorm, (attention.q_proj, attention.k_proj, attention.v_proj)),
                (layer.post_attention_layernorm, (mlp.gate_proj, mlp.up_proj)),
            ):
                for reader in readers:
                    reader.weight.copy_((reader.weight * norm.weight) @ whole)
                norm.weight.fill_(1)
            for writer in (attention.o_proj, mlp.down_proj):
                writer.weight.copy_(whole.T @ writer.weight)
    return copy.eval()
