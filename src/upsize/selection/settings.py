"""The settings of `choose`, checked before anything is read or loaded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upsize.errors import InvalidInput
from upsize.model import HubOptions
from upsize.number_format import short

QUANTILES = ("p50", "p95", "p99")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s)")


@dataclass(frozen=True)
class ChoiceSettings:
    """One question. Raises InvalidInput for values that make no sense."""

    data: Path
    models: tuple[str, ...]
    out: Path
    rerankers: tuple[str, ...] = ()
    depths: tuple[int, ...] = (20,)
    dims: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ("auto",)
    kind: str | None = None
    instruction: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    slices: tuple[str, ...] = ()
    split: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    skip_bad: bool = False
    delta: float = 0.01
    rate: float = 1.0
    """Queries a second."""
    slo: Mapping[str, float] = field(default_factory=dict)
    """Quantile (`p50`, `p95`, `p99`) → milliseconds."""
    speed: bool = True
    """Whether latency and memory are measured. A latency limit needs them."""
    seconds: float = 20.0
    """Seconds of load at `rate`; each further rate takes half as long."""
    price: float | None = None
    """Price of an hour of the machine, in any currency."""
    seed: int = 0
    device: str = "auto"
    hub: HubOptions = field(default_factory=HubOptions)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> ChoiceSettings:
        """Settings from options of the same names. An option that is None or an empty list keeps the default, a list
        becomes a tuple, and options of other names are ignored."""
        names = {field.name for field in dataclasses.fields(cls)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name in names and value not in (None, [])
        }
        return cls(**given)

    def __post_init__(self) -> None:
        if not self.models:
            raise InvalidInput("No models to compare. Name them from small to large: --models demo-s demo-m")
        if not 0 <= self.delta < 1:
            raise InvalidInput(
                f"--delta {self.delta:g}: the margin is a difference of the metric, from 0 (any sure gain pays) to 1."
            )
        if self.rate <= 0:
            raise InvalidInput(f"--rate {short(self.rate)}: give queries a second, more than 0.")
        if self.seconds < 1:
            raise InvalidInput(f"--seconds {short(self.seconds)}: give at least 1 second of load.")
        if self.price is not None and self.price < 0:
            raise InvalidInput(f"--price {short(self.price)}: give what an hour of the machine costs.")
        if any(depth < 1 for depth in self.depths):
            raise InvalidInput("--depths: a reranker scores 1 document or more.")
        if wrong := [q for q in self.slo if q not in QUANTILES]:
            raise InvalidInput(f"A limit of {', '.join(wrong)}: use {', '.join(QUANTILES)}.")
        if self.slo and not self.speed:
            raise InvalidInput("A latency limit without measuring latency: leave out --no-speed, or the limit.")


def milliseconds(text: str) -> float:
    """`50ms`, `0.2s` → milliseconds; InvalidInput for anything else."""
    if not (match := _DURATION.fullmatch(text.strip().lower())) or float(match[1]) == 0:
        raise InvalidInput(f"{text!r} is no latency. Write it like 50ms or 0.2s.")
    return float(match[1]) * (1000 if match[2] == "s" else 1)
