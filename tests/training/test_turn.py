"""A turn folded into the weights."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'upsize[torch]'")

from training import turn  # noqa: E402
from training.network import CHANNELS, SIZES, Qwen3  # noqa: E402
from training.streams import DistilBatch, PairBatch  # noqa: E402


def test_folded_weights_give_the_turned_vectors_and_nothing_else() -> None:
    torch.manual_seed(0)
    size = SIZES["xs"]
    model = Qwen3(size)
    model.start_from_tokens(torch.randn(size.vocabulary, size.hidden), torch.rand(size.vocabulary).clamp(min=0.005))
    for name, weight in model.named_parameters():
        if name.endswith("layernorm.weight"):
            torch.nn.init.uniform_(weight, 0.5, 2.0)
    outputs = size.hidden - CHANNELS
    matrix, _ = torch.linalg.qr(torch.randn(outputs, outputs))
    ids, last = torch.randint(size.vocabulary, (3, 20)), torch.tensor([[19], [7], [0]])
    with torch.inference_mode():
        before, after = (each(ids, last)[:, 0] for each in (model, turn.folded(model, matrix)))
    torch.testing.assert_close(after[:, :outputs], before[:, :outputs] @ matrix, atol=1e-4, rtol=1e-4)
    assert (after[:, outputs:] == 0).all()


def test_a_learned_turn_keeps_angles_and_finds_more_with_few_dimensions() -> None:
    torch.manual_seed(0)
    mixed, _ = torch.linalg.qr(torch.randn(24, 24))
    told = torch.zeros(400, 24)
    told[:, :4] = torch.randn(400, 4)  # what a query shares with its passage lies in 4 of 24 dimensions
    passages = (told + 0.1 * torch.randn(400, 24)) @ mixed
    queries = (told + 0.1 * torch.randn(400, 24)) @ mixed
    pairs = [
        turn.Asked(queries[i : i + 40], passages[i : i + 40], torch.ones(40, 40, dtype=torch.bool))
        for i in range(0, 400, 40)
    ]
    found = turn.learned(pairs, [turn.Met(passages, passages)], (4,), seed=0, steps=150)
    torch.testing.assert_close(found @ found.T, torch.eye(24), atol=1e-4, rtol=0)

    def right(matrix: torch.Tensor) -> float:
        q, p = (torch.nn.functional.normalize((side @ matrix)[:, :4], dim=1) for side in (queries, passages))
        return float(((q @ p.T).argmax(1) == torch.arange(400)).float().mean())

    assert right(found) > right(torch.eye(24)) + 0.2


def test_a_turn_is_learned_from_what_a_model_says_of_training_batches() -> None:
    torch.manual_seed(0)
    size = SIZES["xs"]
    model = Qwen3(size)
    ids, last = torch.randint(size.vocabulary, (6, 12)), torch.full((6, 1), 11)
    asked = PairBatch(ids, last, ids.flip(1), last, torch.ones(6, 6, dtype=torch.bool))
    outputs = size.hidden - CHANNELS
    text = DistilBatch(ids, last, torch.nn.functional.normalize(torch.randn(6, outputs), dim=1))
    pairs, met = turn.vectors(model, iter([text]), iter([asked]))
    torch.testing.assert_close(pairs[0].queries.norm(dim=1), torch.ones(6))
    found = turn.learned(pairs, met, (8, outputs), seed=0, steps=3)
    torch.testing.assert_close(found @ found.T, torch.eye(outputs), atol=1e-4, rtol=0)
    assert not torch.equal(found, torch.eye(outputs))
