"""Versions, disk space and load of this machine, in addition to what `compute.machine` reads."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from upsize.compute import Machine, this_machine
from upsize.folders import provide_hub_home

OPTIONAL = {
    "transformers": "verify",
    "modelscope": "modelscope",
    "scikit-learn": "choose",
    "pyarrow": "data",
    "lancedb": "index",
    "openai": "notebook",
    "matplotlib": "notebook",
}
"""Package → the extra of upsize that brings it."""


@dataclass(frozen=True)
class Environment:
    """The software and resources of this machine that matter for upsize."""

    python: str
    system: str
    upsize: str
    torch: str | None
    """Version, or None where torch is not installed. The compiled kernels do not need it."""
    cuda: str | None
    """CUDA version that torch was built for, or None for a build without CUDA."""
    threads: int
    """Compute threads."""
    load: float
    """Load average of the last minute: processes that run or wait for a core."""
    machine: Machine
    cache: str
    """Folder of the hub's models."""
    cache_free: int
    """Free bytes on the disk of `cache`."""
    packages: dict[str, str | None]
    """Optional package → its version, or None where it is not installed."""

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def read_environment() -> Environment:
    """Read the environment. Takes a few milliseconds."""
    provide_hub_home()
    from huggingface_hub import constants

    machine = this_machine()
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        upsize=installed("upsize") or "not installed",
        torch=installed("torch"),
        cuda=_cuda(),
        threads=machine.threads,
        load=psutil.getloadavg()[0],
        machine=machine,
        cache=constants.HF_HUB_CACHE,
        cache_free=shutil.disk_usage(_existing(Path(constants.HF_HUB_CACHE))).free,
        packages={name: installed(name) for name in OPTIONAL},
    )


def advice(environment: Environment) -> list[str]:
    """Advice on what to change about this machine, a line each. Pure."""
    lines = []
    machine = environment.machine
    if not machine.gpus and environment.cuda is not None:
        lines.append(
            f"torch is a build for CUDA {environment.cuda} and finds no GPU: check the driver with nvidia-smi."
        )
    if not machine.gpus and not machine.bfloat16_products:
        lines.append(
            "The processor has no bfloat16 products (avx512_bf16 or AMX): bfloat16 weights save memory here, not time"
            + (", and --dtype int8 saves both." if (machine.kernels or "").startswith("avx512") else ".")
        )
    if environment.threads > machine.cores:
        lines.append(
            f"{environment.threads} threads compute on {machine.cores} usable cores: set OMP_NUM_THREADS="
            f"{machine.cores}."
        )
    if environment.load > machine.cores:
        lines.append(
            f"The machine is busy: {environment.load:.1f} processes want its {machine.cores} cores, so "
            "everything runs slower than it could."
        )
    if machine.available < machine.memory // 4:
        lines.append(f"Only {machine.available / 1e9:.1f} of {machine.memory / 1e9:.1f} GB of memory are free.")
    if environment.cache_free < 20e9:
        lines.append(
            f"{environment.cache_free / 1e9:.1f} GB are free on the disk of the models ({environment.cache}). The 8B "
            "needs 16 GB. Set HF_HOME to a larger disk."
        )
    return lines


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    path = Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links of folders not there yet)
    while not path.exists():
        path = path.parent
    return path


def _cuda() -> str | None:
    if installed("torch") is None:
        return None
    import torch

    return torch.version.cuda


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
