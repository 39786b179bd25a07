"""From a checkpoint's tensors to the matrices that the kernels read: turned, quantised, cut into panels.

The int8 form turns the network first, after QuaRot (Ashkboos et al. 2024): the residual stream by a Hadamard matrix,
which RMSNorm does not notice once its weight has moved into the matrix behind it, and each value head by another. That
spreads a loud channel over all channels, and costs next to nothing at run time: only the token vectors are turned on
their way in, and the last states on their way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upsize.compute.native.library import PANEL
from upsize.model.config import ModelConfig

GROUP = 128
"""Inputs that share a scale of their activations."""
VERSION = "1"
"""Of the packed form; a file of another version is packed again."""
QUANTIZATION = f"weights by output, activations by {GROUP} inputs, turned; form {VERSION}"
"""What a fingerprint says of the int8 form."""


def hadamard(size: int) -> Tensor:
    """The orthogonal symmetric Hadamard matrix of a power of two."""
    h: Tensor = torch.ones(1, 1)
    while len(h) < size:
        h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)))
    return h.mul(size**-0.5)


def turned(x: Tensor) -> Tensor:
    """The last dimension times Hadamard matrices of the largest power of two that divides it. Its own inverse."""
    size = x.shape[-1] & -x.shape[-1]
    inner = 1 << (size.bit_length() // 2)
    # H of a × b is the Kronecker product of H of a and H of b: two small products instead of one large.
    blocks = x.reshape(-1, size // inner, inner)
    product: Tensor = hadamard(size // inner) @ blocks @ hadamard(inner)
    return product.reshape(x.shape)


@dataclass(frozen=True)
class Packed:
    """A matrix (outputs, inputs) as the kernels read it."""

    panels: Tensor
    scales: Tensor | None


def in_panels(weight: Tensor, step: int) -> Tensor:
    """(outputs, inputs) → (panels, inputs / step, 64, step), filled up with zeros."""
    outputs, inputs = weight.shape
    full = torch.zeros(-(-outputs // PANEL) * PANEL, -(-inputs // step) * step, dtype=weight.dtype)
    full[:outputs, :inputs] = weight
    return full.view(len(full) // PANEL, PANEL, -1, step).transpose(1, 2).contiguous()


def pack_int8(weight: Tensor) -> Packed:
    """One scale for each output; each value rounded, plus 128."""
    scales = weight.abs().amax(1) / 127
    scales = torch.where(scales > 0, scales, 1.0)
    quantised = (weight / scales[:, None]).round_().add_(128).to(torch.uint8)
    full = torch.zeros(-(-len(weight) // PANEL) * PANEL)
    full[: len(scales)] = scales
    return Packed(in_panels(quantised, 4), full)


def pack_bfloat16(weight: Tensor) -> Packed:
    """Rounded to bfloat16."""
    return Packed(in_panels(weight.to(torch.bfloat16), 2), None)


def interleaved(gate: Tensor, up: Tensor) -> Tensor:
    """Gate and up in turn, 32 outputs of each, so that one panel has both sides of its SwiGLU."""
    rows, inputs = gate.shape
    half = PANEL // 2
    both = torch.zeros(-(-rows // half), 2, half, inputs, dtype=gate.dtype)
    for side, weight in enumerate((gate, up)):
        flat = torch.zeros(len(both) * half, inputs, dtype=gate.dtype)
        flat[:rows] = weight
        both[:, side] = flat.view(-1, half, inputs)
    return both.view(-1, inputs)


def packed_arrays(
    config: ModelConfig, load: Callable[[str], Tensor], precision: str
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Name → array of everything that the native network holds but its token vectors, a layer at a time."""
    yield from ((name, _array(tensor)) for name, tensor in _tensors(config, load, precision))
    yield "norm", _array(load("norm.weight").float())


def token_vectors(load: Callable[[str], Tensor]) -> NDArray[np.generic]:
    """The embedding as it is stored, bfloat16 as its bits; mapped from disk if `load` does that."""
    return _array(load("embed_tokens.weight"))


def _array(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _tensors(config: ModelConfig, load: Callable[[str], Tensor], precision: str) -> Iterator[tuple[str, Tensor]]:
    int8 = precision == "int8"
    pack = pack_int8 if int8 else pack_bfloat16

    def matrix(name: str, weight: Tensor) -> Iterator[tuple[str, Tensor]]:
        packed = pack(weight)
        yield f"{name}.panels", packed.panels
        if packed.scales is not None:
            yield f"{name}.scales", packed.scales

    for index in range(config.layers):
        name = f"layers.{index}."

        def weight(part: str, name: str = name) -> Tensor:
            return load(f"{name}{part}.weight").float()

        q, k, v, o = (weight(f"self_attn.{p}_proj") for p in "qkvo")
        gate, up, down = (weight(f"mlp.{p}_proj") for p in ("gate", "up", "down"))
        norms = [weight("input_layernorm"), weight("post_attention_layernorm")]
        if int8:
            q, k, v = (turned(w * norms[0]) for w in (q, k, v))
            gate, up = (turned(w * norms[1]) for w in (gate, up))
            v = turned(v.view(config.kv_heads, config.head_dim, -1).transpose(1, 2)).transpose(1, 2).reshape(v.shape)
            o = turned(o.view(-1, config.heads, config.head_dim)).view(o.shape)
            o, down = turned(o.T).T, turned(down.T).T
            norms = [torch.ones_like(norm) for norm in norms]
        yield from matrix(name + "qkv", torch.cat((q, k, v)))
        yield from matrix(name + "output", o)
        yield from matrix(name + "gate_up", interleaved(gate, up))
        yield from matrix(name + "down", down)
        yield name + "input_norm", norms[0]
        yield name + "mlp_norm", norms[1]
        yield name + "q_norm", weight("self_attn.q_norm")
        yield name + "k_norm", weight("self_attn.k_norm")
