"""GPU only: fused kernels against plain torch, CUDA graphs against plain launches, fp8 against bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoints import Layout
from tests.networks import cosines, finish, last_states, loaded, network, random_sequences
from upsize.compute import load_model
from upsize.compute.pytorch import CudaBackend, TorchNetwork
from upsize.compute.pytorch.fp8 import Fp8Linear
from upsize.compute.pytorch.graphs import ROWS, Graphs
from upsize.compute.pytorch.operations import TorchOperations
from upsize.compute.quantization_fidelity import MIN_FIDELITY

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: run it on one")

Folder = Callable[[Layout], Path]
GPU = torch.device("cuda")
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 0.05}


class Plain(TorchOperations):
    """The operations in torch, on the GPU."""

    device, chunk_rows = GPU, 64

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


@pytest.fixture(params=CLOSE, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(GPU)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.allclose(a.float(), b.float(), atol=CLOSE[a.dtype], rtol=0.02)


@pytest.mark.parametrize("width", [24, 64, 1000, 1024, 2560, 4096])
def test_norms(dtype: torch.dtype, width: int) -> None:
    x, delta, weight = noise(37, width), noise(37, width, seed=1).to(dtype), 1 + noise(width, seed=2) / 8
    ours, plain = CudaBackend(dtype, GPU), Plain(dtype)
    assert ours.fused
    assert close(ours.norm(x, weight, 1e-6), plain.norm(x, weight, 1e-6))
    mine, theirs = x.clone(), x.clone()
    assert close(ours.add_norm(mine, delta, weight, 1e-6), plain.add_norm(theirs, delta, weight, 1e-6))
    assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize(("heads", "kv", "dim"), [(16, 8, 128), (32, 8, 128), (4, 2, 16), (6, 3, 24)])
def test_norm_rope(dtype: torch.dtype, heads: int, kv: int, dim: int) -> None:
    qkv = noise(19, heads + 2 * kv, dim).to(dtype)
    weights = 1 + noise(dim, seed=1) / 8, 1 + noise(dim, seed=2) / 8
    angles = 30 * noise(19, dim // 2, seed=3)
    found = []
    for backend in (CudaBackend(dtype, GPU), Plain(dtype)):
        keys, values = torch.full((2, 19, kv, dim), torch.nan, dtype=dtype, device=GPU)
        q = backend.norm_rope(qkv, weights, (angles.cos(), angles.sin()), keys, values, 1e-6)
        found.append((q, keys, values))
    assert all(close(mine, theirs) for mine, theirs in zip(*found, strict=True))


@pytest.mark.parametrize("width", [48, 192, 3072, 9728])
def test_activation(dtype: torch.dtype, width: int) -> None:
    x = noise(23, 2 * width).to(dtype)
    assert close(CudaBackend(dtype, GPU).activation(x), Plain(dtype).activation(x.clone()))


@pytest.mark.parametrize("chunk_rows", [7, 64])
def test_hidden_states_are_those_of_the_cpu(checkpoint_folder: Folder, chunk_rows: int) -> None:
    folder = checkpoint_folder(Layout())
    sequences = random_sequences(np.random.default_rng(1), 9, 30)
    expected = last_states(network(folder), sequences)
    for dtype, least in ((torch.float32, 0.999999), (torch.bfloat16, 0.999)):
        net = network(folder, CudaBackend(dtype, GPU), chunk_rows)
        with torch.inference_mode():
            ids = torch.tensor([i for s in sequences for i in s], device=GPU)
            found = finish(net.forward(ids, [0, *accumulate(map(len, sequences))])).cpu().numpy()
        assert cosines(found, expected).min() > least


def test_a_graph_gives_what_plain_launches_give(checkpoint_folder: Folder) -> None:
    model = load_model(checkpoint_folder(Layout()), device="cuda", dtype="bfloat16")
    net, rng = model._network, np.random.default_rng(2)
    assert isinstance(net, TorchNetwork)
    graphs = net._graphs
    assert graphs is not None
    for count, longest in ((1, 27), (1, ROWS[-1]), (5, 60), (8, 20), (9, 20), (40, 8), (1, 30), (64, 8)):
        batch = [np.asarray(s, np.int32) for s in random_sequences(rng, count, longest)]
        net._graphs = graphs
        graphed = finish(model.run(batch))
        net._graphs = None
        assert cosines(graphed, finish(model.run(batch))).min() > 0.9999


def test_a_hidden_state_outlives_the_next_batch(checkpoint_folder: Folder) -> None:
    """A small batch that preempts another at its last yield point uses the same graph."""
    model = load_model(checkpoint_folder(Layout()), device="cuda", dtype="bfloat16")
    first, second = (np.arange(start, start + 20, dtype=np.int32) for start in (5, 50))
    alone = finish(model.run([first]))
    steps = model.run([first])
    assert next(steps)
    other = finish(model.run([second]))
    np.testing.assert_array_equal(finish(steps), alone)
    assert cosines(other, alone)[0] < 0.999


def test_large_batches_are_not_graphed() -> None:
    assert Graphs.fits(ROWS[-1], 1)
    assert not Graphs.fits(ROWS[-1] + 1, 1)
    assert not Graphs.fits(100, 65)


def test_a_model_takes_the_gpu_unasked(embedder_folder: Path) -> None:
    model = load_model(str(embedder_folder))
    assert model.plan.device == "cuda"
    ids = [np.arange(9, dtype=np.int32)]
    assert cosines(finish(model.run(ids)), finish(loaded(embedder_folder).run(ids)))[0] > 0.999


def test_fp8_products_are_near(checkpoint_folder: Folder) -> None:
    if torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("needs a GPU that multiplies fp8 (compute capability 8.9 or later): run it on one")
    x, weight = noise(37, 128).bfloat16(), noise(96, 128, seed=1).bfloat16()
    found, exact = Fp8Linear(weight)(x).float(), x.float() @ weight.float().T
    assert (found - exact).norm() / exact.norm() < 0.05
    model = load_model(str(checkpoint_folder(Layout())), device="cuda", dtype="fp8")
    assert model.quantization_fidelity is not None
    assert model.quantization_fidelity >= MIN_FIDELITY, "random weights have no outlier channels"
    assert model.plan.precision == "fp8"
