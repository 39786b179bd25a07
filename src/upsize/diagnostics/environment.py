"""What is installed and what there is room for on this machine, beside what `compute.machine` reads."""

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
    """This machine, as far as it matters here."""

    python: str
    system: str
    upsize: str
    torch: str | None
    """None where it is not installed: the compiled kernels do without."""
    cuda: str | None
    """CUDA version that torch was built for; None for a build without."""
    threads: int
    """That compute."""
    load: float
    """Processes that wanted a core, on average over the last minute."""
    machine: Machine
    cache: str
    """Where models of the hub are kept."""
    cache_free: int
    """Bytes free on its disk."""
    packages: dict[str, str | None]
    """Optional package → its version, or None where it is not installed."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def read_environment() -> Environment:
    """Read it. Takes some milliseconds."""
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
    """What about this machine is worth changing, a line each. Pure."""
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
            f"The machine is busy: {environment.load:.1f} processes want its {machine.cores} cores, so what "
            "runs now is slower than it can be."
        )
    if machine.available < machine.memory // 4:
        lines.append(f"Only {machine.available / 1e9:.1f} of {machine.memory / 1e9:.1f} GB of memory are free.")
    if environment.cache_free < 20e9:
        lines.append(
            f"{environment.cache_free / 1e9:.1f} GB are free where models are kept ({environment.cache}); the 8B needs "
            "16 GB. Set HF_HOME to a larger disk."
        )
    return lines


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
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
    """Its version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
