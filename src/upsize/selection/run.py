"""A run: the values of one candidate on one task, unit by unit, on disk.

    runs/ID-DIGEST/
      run.json     candidate, fingerprints, task, metric, data, seeds, and the statistic of each seed
      units.npz    `units` (ids) and for each seed s and column c an array `c.s`, one value a unit

The digest covers everything that determines the values, so no run is taken for that of another configuration. Files are
written atomically, `run.json` last, so a folder with a `run.json` is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.io.atomic import write_atomic

RUN, UNITS = "run.json", "units.npz"

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """One candidate's values."""

    candidate: str
    config: Mapping[str, Any]
    """Everything that determines the values: model, dimension, precision, reranker, depth, fingerprints, task, metric,
    data, seeds."""
    units: tuple[str, ...]
    columns: tuple[Columns, ...]
    """For each seed, column → (units,)."""
    statistic: tuple[float, ...]
    """The metric over all units, for each seed."""

    @property
    def folder(self) -> str:
        """Name of its folder: the candidate, as a file name, and the digest of its configuration."""
        return f"{re.sub(r'[^A-Za-z0-9.@+_-]+', '_', self.candidate)}-{config_digest(self.config)}"


def config_digest(config: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def write_run(run: Run, runs: Path) -> Path:
    """Write the run to the folder `runs`; the path of its own folder. A kill leaves a complete run or none."""
    folder = runs / run.folder
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"{name}.{seed}": column for seed, columns in enumerate(run.columns) for name, column in columns.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, units=np.array(run.units), **arrays)  # type: ignore[arg-type]
    write_atomic(folder / UNITS, buffer.getvalue())
    values = {"candidate": run.candidate, "config": dict(run.config), "statistic": list(run.statistic)}
    write_atomic(folder / RUN, json.dumps(values, indent=2, ensure_ascii=False).encode() + b"\n")
    return folder


def read_run(folder: Path) -> Run:
    """Read a run. FileNotFoundError where it is not complete."""
    values = json.loads((folder / RUN).read_bytes())
    with np.load(folder / UNITS, allow_pickle=False) as arrays:
        units = tuple(str(u) for u in arrays["units"])
        columns: list[dict[str, NDArray[Any]]] = [{} for _ in values["statistic"]]
        for key in arrays.files:
            if key != "units":
                name, seed = key.rsplit(".", 1)
                columns[int(seed)][name] = arrays[key]
    return Run(values["candidate"], values["config"], units, tuple(columns), tuple(values["statistic"]))


def find_run(candidate: str, config: Mapping[str, Any], runs: Path) -> Run | None:
    """The run of exactly this configuration, if it is complete."""
    folder = runs / Run(candidate, config, (), (), ()).folder
    return read_run(folder) if (folder / RUN).exists() else None
