"""Products in fp8 (e4m3) on GPUs that have them: a scale for each output of a weight and for each row that comes.

The scales are those of the largest value (Micikevicius et al. 2022, FP8 formats for deep learning), rows' found anew
for each product. Sums are float32; the result is bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

E4M3 = torch.float8_e4m3fn
LARGEST = torch.finfo(E4M3).max


class Fp8Linear:
    """A product with a matrix (outputs, inputs) of bfloat16 on the GPU, both multiples of 16."""

    def __init__(self, weight: Tensor) -> None:
        scale = weight.abs().amax(1, keepdim=True).float().clamp_min(1e-12) / LARGEST
        blocks = zip(torch.split(weight, 4096), torch.split(scale, 4096), strict=True)
        self._weight = torch.cat([(w / s).to(E4M3) for w, s in blocks])
        self._scale = scale.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """Of (rows, inputs) in bfloat16."""
        return self.product(x)()

    def product(self, x: Tensor) -> Callable[[], Tensor]:
        """With `x` rounded now, and multiplied by each call."""
        from upsize.compute.pytorch import fused

        rounded, scale = fused.to_fp8(x)

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
