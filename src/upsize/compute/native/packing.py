"""Convert a checkpoint's tensors to packed weights: rotate them, quantise them, arrange them in panels.

int8 rotates the network before it quantises, after QuaRot (Ashkboos et al. 2024): the residual stream with one
Hadamard matrix, and each value head with another. RMSNorm does not change under the rotation once its weight is folded
into the matrix that follows. The rotation spreads an outlier channel over all channels. It costs little at run time:
only the token vectors are rotated on the way in and the last hidden states on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from upsize.compute.native.library import PANEL
from upsize.model.config import ModelConfig
from upsize.model.stored_tensor import Array

GROUP = 128
"""Inputs that share one activation scale where no rotation spreads outlier channels; see also `rotated_group`."""
FORM = "1"
"""Version of the packed values. Another version gives other vectors."""
QUANTIZATION = f"weights by output, activations by {GROUP} inputs or by what is turned together; form {FORM}"
"""The fingerprint's description of int8. Its words are part of published fingerprints, so they do not change."""

Floats = NDArray[np.float32]


def hadamard(size: int) -> Floats:
    """The orthogonal symmetric Hadamard matrix of a power of two."""
    h: Floats = np.full((1, 1), size**-0.5, np.float32)
    while len(h) < size:
        h = np.concatenate((np.concatenate((h, h), 1), np.concatenate((h, -h), 1)))
    return h


def rotated_group(width: int) -> int:
    """Inputs of a rotated row that share one activation scale: all that one Hadamard matrix mixes, so that none is an
    outlier. Smaller groups would cost time."""
    return max(width & -width, GROUP)


def rotate(x: Floats) -> Floats:
    """Multiply the last dimension with Hadamard matrices of the largest power of two in it. Its own inverse."""
    size = x.shape[-1] & -x.shape[-1]
    inner = 1 << (size.bit_length() // 2)
    outer = size // inner
    # The Hadamard matrix of size a × b is the Kronecker product of those of a and b: two small GEMMs do.
    rows: Floats = (x.reshape(-1, inner) @ hadamard(inner)).reshape(-1, outer, inner)
    columns: Floats = rows.swapaxes(1, 2).reshape(-1, outer) @ hadamard(outer)
    return np.asarray(columns.reshape(-1, inner, outer).swapaxes(1, 2).reshape(x.shape), np.float32)


@dataclass(frozen=True)
class PackedMatrix:
    """A matrix (outputs, inputs) in the kernels' format; `scales` has one value an output for int8, else it is None."""

    panels: Array
    scales: Floats | None


def in_panels(weight: Array, step: int) -> Array:
    """(outputs, inputs) → (panels, inputs / step, 64, step), padded with zeros."""
    outputs, inputs = weight.shape
    full = np.zeros((-(-outputs // PANEL) * PANEL, -(-inputs // step) * step), weight.dtype)
    full[:outputs, :inputs] = weight
    return np.ascontiguousarray(full.reshape(len(full) // PANEL, PANEL, -1, step).swapaxes(1, 2))


def pack_int8(weight: Floats) -> PackedMatrix:
    """Quantise to int8 with one scale an output; store each value plus 128 in uint8."""
    scales = np.maximum(weight.max(1), -weight.min(1)) / np.float32(127)
    scales[scales == 0] = 1
    quantised = weight / scales[:, None]
    np.rint(quantised, quantised)
    quantised += 128
    full = np.zeros(-(-len(weight) // PANEL) * PANEL, np.float32)
    full[: len(scales)] = scales
    with np.errstate(invalid="ignore"):  # a weight that is not finite makes its scale not finite
        return PackedMatrix(in_panels(quantised.astype(np.uint8), 4), full)


def pack_bfloat16(weight: Array) -> PackedMatrix:
    """Round to bfloat16; the panels hold its bits in uint16."""
    return PackedMatrix(in_panels(weight.astype(bfloat16, copy=False).view(np.uint16), 2), None)


def interleaved(gate: Array, up: Array) -> Array:
    """Interleave gate and up, 32 outputs of each, so that one panel has both factors of its SwiGLU."""
    rows, inputs = gate.shape
    half = PANEL // 2
    both = np.zeros((-(-rows // half), 2, half, inputs), gate.dtype)
    for factor, weight in enumerate((gate, up)):
        flat = np.zeros((len(both) * half, inputs), gate.dtype)
        flat[:rows] = weight
        both[:, factor] = flat.reshape(-1, half, inputs)
    return both.reshape(-1, inputs)


class LayerAtATime:
    """The arrays of `packed_arrays`, made on demand, one layer in memory at a time: for a network that runs once."""

    def __init__(self, config: ModelConfig, load: Callable[[str], Array], precision: str) -> None:
        self._config, self._load, self._precision = config, load, precision
        self._held: dict[str, NDArray[np.generic]] = {}

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._held:
            part, *rest = name.split(".")
            if part == "layers":
                self._held = dict(packed_layer(self._config, self._load, self._precision, int(rest[0])))
            else:
                self._held = dict(packed_final_norm(self._load))
        return self._held[name]


def packed_arrays(
    config: ModelConfig, load: Callable[[str], Array], precision: str
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Names and arrays of all packed weights, a layer at a time. The token vectors are not among them."""
    for index in range(config.layers):
        yield from packed_layer(config, load, precision, index)
    yield from packed_final_norm(load)


def packed_final_norm(load: Callable[[str], Array]) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """The name and array of the weight that belongs to no layer."""
    yield "norm", load("norm.weight").astype(np.float32)


def packed_layer(
    config: ModelConfig, load: Callable[[str], Array], precision: str, index: int
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    """Names and arrays of one layer's packed weights."""
    int8, name = precision == "int8", f"layers.{index}."

    def small(part: str) -> Floats:
        return load(f"{name}{part}.weight").astype(np.float32)

    def weight(part: str) -> Array:
        return load(f"{name}{part}.weight").astype(np.float32 if int8 else bfloat16, copy=False)

    def matrix(part: str, weight: Array) -> Iterator[tuple[str, NDArray[np.generic]]]:
        packed = pack_int8(weight) if int8 else pack_bfloat16(weight)
        yield f"{name}{part}.panels", packed.panels
        if packed.scales is not None:
            yield f"{name}{part}.scales", packed.scales

    q, k, v, o = (weight(f"self_attn.{p}_proj") for p in "qkvo")
    gate, up, down = (weight(f"mlp.{p}_proj") for p in ("gate", "up", "down"))
    norms = [small("input_layernorm"), small("post_attention_layernorm")]
    if int8:
        q, k, v = (rotate(w * norms[0]) for w in (q, k, v))
        gate, up = (rotate(w * norms[1]) for w in (gate, up))
        v = rotate(v.reshape(config.kv_heads, config.head_dim, -1).swapaxes(1, 2)).swapaxes(1, 2).reshape(v.shape)
        o = rotate(o.reshape(-1, config.heads, config.head_dim)).reshape(o.shape)
        o, down = rotate(o.T).T, rotate(down.T).T
        norms = [np.ones_like(norm) for norm in norms]
    yield from matrix("qkv", np.concatenate((q, k, v)))
    yield from matrix("output", o)
    yield from matrix("gate_up", interleaved(gate, up))
    yield from matrix("down", down)
    yield f"{name}input_norm", norms[0]
    yield f"{name}mlp_norm", norms[1]
    yield f"{name}q_norm", small("self_attn.q_norm")
    yield f"{name}k_norm", small("self_attn.k_norm")
