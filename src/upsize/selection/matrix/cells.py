"""Cells: the measurements of a size in a precision, and how a figure of all layers is scaled from a few.

The time of a forward pass is a + b × layers, because all layers do the same work. So two networks of few layers give a
and b, and the arithmetic for all layers is shown with the figure.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from upsize.catalog import FamilyMember
from upsize.compute.plan import INT8, PRECISIONS
from upsize.diagnostics import Rates
from upsize.errors import UpsizeError
from upsize.io.atomic import write_atomic
from upsize.model.config import ModelConfig
from upsize.number_format import plain
from upsize.selection.matrix.model_shapes import layer_parameters, write_random

Name = Literal["sentence", "passages", "long"]
SENTENCE = 27
"""Tokens of a short query with the default instruction."""
PASSAGE, BATCH = 128, 4
"""Tokens of a passage, and passages of a batch: 512 tokens, the CPU's token budget."""
LONG = 32768
SMALL = 1_000_000_000
"""Parameters up to which the short cells run all layers anyway."""
FEW: dict[Name, tuple[int, int]] = {"sentence": (2, 4), "passages": (2, 4), "long": (1, 2)}
"""Layers of the two networks that a whole is scaled from."""


@dataclass(frozen=True)
class CellSettings:
    """How a matrix is measured."""

    device: str = "auto"
    whole: bool = False
    """All layers in every cell, instead of a few of a large size's."""
    seconds: float = 10.0
    """Of repeated runs in a short cell."""
    long_tokens: int = LONG


@dataclass(frozen=True)
class Cell:
    """One measurement: a batch through so many layers of a size."""

    size: str
    precision: str
    name: Name
    layers: int
    lengths: tuple[int, ...]
    weights: str
    """`random`, or the folder of the real ones."""
    settings: CellSettings

    @property
    def file(self) -> str:
        """Its name on disk, made of all that shapes the figure."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.size}-{self.precision}-{self.name}-{self.layers}-{digest}.json"


def cells_of(member: FamilyMember, precision: str, weights: str, settings: CellSettings) -> list[Cell]:
    """What to measure of one size in one precision. A small size's short cells run whole, and in a few layers too: what
    scaling them gives is held against what the whole gave."""
    lengths: dict[Name, tuple[int, ...]] = {
        "sentence": (SENTENCE,),
        "passages": (PASSAGE,) * BATCH,
        "long": (settings.long_tokens,),
    }
    found = []
    for name, batch in lengths.items():
        whole = settings.whole or weights != "random" or (member.parameters <= SMALL and name != "long")
        few = weights == "random" and (not whole or member.parameters <= SMALL)
        counts = [*(FEW[name] if few else ()), *([member.layers] if whole else ())]
        found += [Cell(member.size, precision, name, n, batch, weights, settings) for n in counts]
    return found


def expected_seconds(cell: Cell, member: FamilyMember, rates: Rates) -> float:
    """Estimated seconds: start, writing and loading the weights, then the runs. Pure; off by up to a half."""
    share = cell.layers / member.layers
    tokens = sum(cell.lengths)
    rate = rates.batch_rate(cell.precision, member.hidden_size)
    attention = 2 * sum(n * n for n in cell.lengths) * member.heads * 128 * member.layers
    once = share * (tokens * member.flops_per_token + attention) / rate
    bytes_read = (member.parameters * share + (member.parameters - member.non_embedding_parameters)) * 2
    start = 6.0 + bytes_read / 4e8
    return start + (once if cell.name == "long" else max(cell.settings.seconds, 4 * once))


def measure_cell(cell: Cell, config: ModelConfig, folder: Path) -> dict[str, Any]:
    """The cell's figures: read from `folder` where they are there, else measured in a child and written whole.

    Raises UpsizeError with the child's last line where it failed.
    """
    path = folder / cell.file
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix="upsize-matrix-") as temporary:
            model, environment = cell.weights, dict(os.environ)
            if model == "random":
                model = str(write_random(config, cell.layers, Path(temporary) / "model"))
                environment["UPSIZE_CACHE"] = str(Path(temporary) / "packed")  # thrown away with the weights
            measured = asdict(cell) | _in_child(cell, model, environment)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(measured, indent=2) + "\n").encode())
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def _in_child(cell: Cell, model: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Measure in a child process. One before it leaves the packed weights on disk, so that packing is not in the
    figures."""
    once = cell.name == "long"
    of = {"model": model, "precision": cell.precision, "device": cell.settings.device}
    _ask(cell, of | {"lengths": (1,), "seconds": 0.0, "fewest": 1, "most": 1}, environment)
    runs = (
        {"seconds": 0.0, "fewest": 1, "most": 1}
        if once
        else {"seconds": cell.settings.seconds, "fewest": 5, "most": 200}
    )
    return _ask(cell, of | {"lengths": cell.lengths} | runs, environment)


def _ask(cell: Cell, asked: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "upsize.selection.matrix.child", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        killed = " (killed, most likely for its memory)" if done.returncode == -9 else ""
        raise UpsizeError(
            f"{cell.size} {cell.precision}, {cell.name} on {cell.layers} layers: the measuring process ended with code "
            f"{done.returncode}{killed}: {last}"
        )
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def quantile(times: Sequence[float], q: float) -> float:
    """The q-quantile of the runs' seconds."""
    return float(np.quantile(np.asarray(times), q))


def scaled(few: float, more: float, layers: tuple[int, int], whole: int) -> float:
    """The figure of `whole` layers, from those of networks with `layers` layers."""
    return more + (whole - layers[1]) * (more - few) / (layers[1] - layers[0])


def sum_shown(few: float, more: float, layers: tuple[int, int], whole: int, unit: str, by: float = 1.0) -> str:
    """The arithmetic of `scaled`, as a line that can be checked by hand."""
    a, b = few / by, more / by
    return (
        f"{plain(b, 4)} + ({whole} − {layers[1]}) × ({plain(b, 4)} − {plain(a, 4)}) / {layers[1] - layers[0]} = "
        f"{plain(scaled(a, b, layers, whole), 4)} {unit}"
    )


def missing_bytes(config: ModelConfig, precision: str, layers: int) -> int:
    """Bytes of the layers that a network of `layers` layers lacks."""
    each = 1 if precision == INT8 else PRECISIONS[precision]
    return (config.layers - layers) * layer_parameters(config) * each
