"""fp8 (e4m3) GEMMs on GPUs that have them: weights with one scale an output, activations with one scale a row.

A scale maps the largest magnitude to the largest e4m3 value (Micikevicius et al. 2022, FP8 formats for deep learning);
each GEMM computes the rows' scales anew. Sums are float32 and results bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
E4M3_MAX = torch.finfo(E4M3).max


class Fp8Linear:
    """A linear map with a matrix (outputs, inputs) in bfloat16 on the GPU; both sizes are multiples of 16."""

    def __init__(self, weight: Tensor) -> None:
        scale = weight.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / E4M3_MAX
        blocks = zip(torch.split(weight, 4096), torch.split(scale, 4096), strict=True)
        self._weight = torch.cat([(w / s).to(E4M3) for w, s in blocks])
        self._scale = scale.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, inputs) → (rows, outputs), both bfloat16."""
        return self.bind(x)()

    def bind(self, x: Tensor) -> Callable[[], Tensor]:
        """Quantise `x` now; the returned function runs the GEMM, so that a benchmark can time it alone."""
        from upsize.compute.pytorch import fused

        rounded, scale = fused.to_fp8(x, E4M3)

        def multiply() -> Tensor:
            out: Tensor = torch._scaled_mm(
                rounded,
                self._weight.t(),
                scale_a=scale,
                scale_b=self._scale,
                out_dtype=torch.bfloat16,
                use_fast_accum=True,
            )
            return out

        return multiply
