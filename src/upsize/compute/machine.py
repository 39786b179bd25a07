"""What this machine is: cores, memory it may use, instructions that matter, GPUs."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch


@dataclass(frozen=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory: int
    """Bytes."""


@dataclass(frozen=True)
class Machine:
    """Facts read off this machine."""

    processor: str
    cores: int
    memory: int
    """Bytes that a process here may use: the machine's, or the container's limit where that is smaller."""
    available: int
    """Bytes of it that are free now."""
    bfloat16_products: bool
    """Whether the CPU multiplies bfloat16 itself (avx512_bf16, AMX); otherwise products run in float32."""
    gpus: tuple[Gpu, ...]


def this_machine() -> Machine:
    """Look at the machine. Takes a few milliseconds."""
    capabilities = torch.cpu.get_capabilities()
    memory, available = psutil.virtual_memory().total, psutil.virtual_memory().available
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit is not None and limit < memory:
        memory, available = limit, min(available, limit - (used or 0))
    return Machine(
        processor=str(capabilities.get("cpu_name") or platform.processor() or platform.machine()),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=memory,
        available=available,
        bfloat16_products=bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")),
        gpus=tuple(
            Gpu(torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory)
            for i in range(torch.cuda.device_count())
        ),
    )


def _cgroup(name: str) -> int | None:
    """A value of this process's control group (version 2), or None where there is no such limit."""
    try:
        text = Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
