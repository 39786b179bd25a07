"""What this machine is: cores, memory it may use, instructions that matter, GPUs."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from upsize.compute import native


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
    kernels: str | None = None
    """Level of the compiled kernels that it runs (`native.library.LEVELS`); None where they were not built."""


def this_machine() -> Machine:
    """Look at the machine. Takes a few milliseconds."""
    capabilities = torch.cpu.get_capabilities()
    memory, available = psutil.virtual_memory().total, psutil.virtual_memory().available
    limit, free = _container_memory()
    memory, available = min(memory, limit), min(available, free)
    return Machine(
        processor=str(capabilities.get("cpu_name") or platform.processor() or platform.machine()),
        cores=min(_own_cores(), _container_cores()),
        memory=memory,
        available=available,
        bfloat16_products=bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")),
        gpus=tuple(
            Gpu(torch.cuda.get_device_name(i), torch.cuda.get_device_properties(i).total_memory)
            for i in range(torch.cuda.device_count())
        ),
        kernels=native.level(),
    )


def _own_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


CGROUP = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 62
_MEMORY_FILES = (  # limit, usage, statistics with the names of cached file pages and of shared memory among them
    ("memory.max", "memory.current", "memory.stat", "file", "shmem"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_cache",
        "total_shmem",
    ),
)
"""Of control groups of version 2 and 1."""


def _container_memory() -> tuple[int, int]:
    """Limit of this process's control group and what is free of it, in bytes; very large where there is no limit.

    Cached file pages count as free, for the kernel gives them back: a model that was just downloaded fills the cache.
    """
    for limit_file, used_file, stat_file, cache_name, shared_name in _MEMORY_FILES:
        try:
            limit, used = (CGROUP / limit_file).read_text().strip(), int((CGROUP / used_file).read_text())
            lines = (CGROUP / stat_file).read_text().splitlines()
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            stat = dict(line.split(maxsplit=1) for line in lines)
            given_back = int(stat.get(cache_name, 0)) - int(stat.get(shared_name, 0))
            return int(limit), max(int(limit) - used + given_back, 0)
    return _UNLIMITED, _UNLIMITED


def _container_cores() -> int:
    """Cores that the control group's time quota amounts to, rounded up; very many where there is no quota."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / f).read_text() for f in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit():
            return max(math.ceil(int(quota) / int(period)), 1)
    return _UNLIMITED
