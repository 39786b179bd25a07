"""The operations of each backend against torch's own; a text's hidden state does not depend on its batch mates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoints import Layout
from tests.networks import cosines, last_states, network, random_sequences
from upsize.compute.pytorch import Backend, CpuBackend, CudaBackend
from upsize.compute.pytorch.cpu import TILE

Folder = Callable[[Layout], Path]
CPU = torch.device("cpu")
BACKENDS: dict[str, Callable[[], Backend]] = {
    "float32": lambda: CpuBackend(torch.float32, native_bfloat16=False),
    "bfloat16 widened": lambda: CpuBackend(torch.bfloat16, native_bfloat16=False),
    "bfloat16 native": lambda: CpuBackend(torch.bfloat16, native_bfloat16=True),
    "float16 widened": lambda: CpuBackend(torch.float16, native_bfloat16=True),
    "cuda's float32": lambda: CudaBackend(torch.float32, CPU),
    "cuda's bfloat16": lambda: CudaBackend(torch.bfloat16, CPU),
}
EXACT = 1e-5
CLOSE = 0.05
"""bfloat16 has 8 bits: sums of 64 products of about 1 are off by about 0.01."""


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return request.param()


def close(backend: Backend, found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found.float(), expected.float(), atol=EXACT if backend.dtype == torch.float32 else CLOSE)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [(96,), (96, 48, 48), (TILE + 5, 3 * TILE)])
def test_linear_lays_the_outputs_side_by_side(backend: Backend, rows: tuple[int, ...]) -> None:
    weights = [noise(n, 64, seed=n).to(torch.bfloat16) / 8 for n in rows]
    x = noise(7, 64).to(backend.dtype)
    expected = x.float() @ torch.cat(weights).float().T
    product = backend.linear(weights)(x)
    assert product.dtype == backend.dtype
    assert close(backend, product, expected)


def test_norm_is_the_rms_norm(backend: Backend) -> None:
    x, weight = noise(5, 4, 24), 1 + 0.1 * noise(24)
    expected = weight * x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    assert close(backend, backend.norm(x, weight, 1e-6), expected)


def test_rope_rotates_pairs_of_halves(backend: Backend) -> None:
    x, angles = noise(5, 4, 24), noise(5, 12)
    rotated = backend.rope(x.to(backend.dtype), angles.cos(), angles.sin())
    as_complex = torch.complex(x[..., :12], x[..., 12:]) * torch.polar(torch.ones(5, 1, 12), angles[:, None])
    assert close(backend, rotated, torch.cat((as_complex.real, as_complex.imag), -1))
    assert rotated.dtype == backend.dtype


def test_activation_is_swiglu(backend: Backend) -> None:
    x = noise(5, 48).to(backend.dtype)
    gate, up = x.float().chunk(2, -1)
    assert close(backend, backend.activation(x.clone()), gate * gate.sigmoid() * up)


def attention_by_definition(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cu_q: list[int], cu_k: list[int]
) -> torch.Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    out = []
    for i in range(len(cu_q) - 1):
        keys, values = k[cu_k[i] : cu_k[i + 1]], v[cu_k[i] : cu_k[i + 1]]
        ahead = len(keys) - (cu_q[i + 1] - cu_q[i])
        for row in range(cu_q[i], cu_q[i + 1]):
            seen = row - cu_q[i] + ahead + 1
            scores = torch.einsum("hd,khd->hk", q[row], keys[:seen]) / q.shape[-1] ** 0.5
            out.append(torch.einsum("hk,khd->hd", scores.softmax(-1), values[:seen]).flatten())
    return torch.stack(out)


SPANS = [
    ([0, 5], [0, 5]),
    ([0, 1, 2, 3], [0, 4, 5, 9]),
    ([0, 3, 4, 9], [0, 8, 9, 14]),
    ([0, 6], [0, 20]),
    ([0, 5, 10, 12], [0, 5, 10, 12]),
    ([0, 3, 6, 9, 10], [0, 8, 16, 22, 30]),
    ([0, 1, 2, 3], [0, 4, 8, 12]),
]


@pytest.mark.parametrize(("cu_q", "cu_k"), SPANS)
@pytest.mark.parametrize("name", [n for n in BACKENDS if n != "cuda's bfloat16"])
def test_attention_is_causal_within_each_sequence(name: str, cu_q: list[int], cu_k: list[int]) -> None:
    backend = BACKENDS[name]()
    q, k, v = noise(cu_q[-1], 4, 24), noise(cu_k[-1], 2, 24, seed=1), noise(cu_k[-1], 2, 24, seed=2)
    found = backend.attention(*(t.to(backend.dtype) for t in (q, k, v)), backend.attention_bounds(cu_q, cu_k))
    assert close(backend, found, attention_by_definition(q, k, v, cu_q, cu_k))


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="variable-length FlashAttention needs a CUDA device: run it on one"
)
@pytest.mark.parametrize(("cu_q", "cu_k"), SPANS)
def test_attention_on_a_gpu_is_causal_within_each_sequence(cu_q: list[int], cu_k: list[int]) -> None:
    backend = CudaBackend(torch.bfloat16, torch.device("cuda"))
    q, k, v = noise(cu_q[-1], 4, 32), noise(cu_k[-1], 2, 32, seed=1), noise(cu_k[-1], 2, 32, seed=2)
    found = backend.attention(*(t.to("cuda", torch.bfloat16) for t in (q, k, v)), backend.attention_bounds(cu_q, cu_k))
    assert close(backend, found.cpu(), attention_by_definition(q, k, v, cu_q, cu_k))


def batches(count: int, seed: int) -> list[list[list[int]]]:
    """Some long and mixed, some of short texts, among which equal lengths are common."""
    rng = np.random.default_rng(seed)
    return [random_sequences(rng, rng.integers(1, 7), int(rng.choice([4, 40]))) for _ in range(count)]


PRECISE = {"float32": ("float32", 200), "cuda's float32": ("float32", 50), "bfloat16 widened": ("bfloat16", 50)}
"""Backend → precision of the weights on disk, and batches to try."""


@pytest.mark.parametrize("name", PRECISE)
def test_a_text_does_not_depend_on_its_batch_mates(checkpoint_folder: Folder, name: str) -> None:
    stored, count = PRECISE[name]
    net = network(checkpoint_folder(Layout(dtype=stored)), BACKENDS[name]())
    for batch in batches(count, seed=5):
        alone = last_states(net, [batch[-1]])
        packed = last_states(net, batch)[-1:]
        np.testing.assert_allclose(packed / np.linalg.norm(packed), alone / np.linalg.norm(alone), atol=1e-5, rtol=0)


def test_a_text_in_native_bfloat16_hardly_depends_on_its_batch_mates(checkpoint_folder: Folder) -> None:
    net = network(checkpoint_folder(Layout(dtype="bfloat16")), BACKENDS["bfloat16 native"]())
    for batch in batches(40, seed=6):
        alone = last_states(net, [batch[-1]])
        assert cosines(last_states(net, batch)[-1:], alone)[0] >= 0.9999


def test_widened_weights_give_the_float32_states(checkpoint_folder: Folder) -> None:
    sequences = batches(1, seed=7)[0]
    exact = last_states(network(checkpoint_folder(Layout())), sequences)
    stored = checkpoint_folder(Layout(dtype="bfloat16"))
    widened = last_states(network(stored, BACKENDS["bfloat16 widened"]()), sequences)
    np.testing.assert_allclose(widened, exact, atol=1e-5)
    native = last_states(network(stored, BACKENDS["bfloat16 native"](), chunk_rows=7), sequences)
    assert cosines(native, exact).min() >= 0.998


def test_weights_that_have_the_precision_stay_mapped(checkpoint_folder: Folder) -> None:
    weight = torch.zeros(4, 4, dtype=torch.bfloat16)
    for backend in (BACKENDS["bfloat16 widened"](), BACKENDS["bfloat16 native"]()):
        kept = backend.linear([weight]).weights  # type: ignore[attr-defined]
        assert kept[0].data_ptr() == weight.data_ptr()
