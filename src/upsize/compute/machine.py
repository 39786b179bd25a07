"""The machine: its cores, the memory that a process may use, the relevant instruction sets, its GPUs."""

from __future__ import annotations

import ctypes
import importlib.util
import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from upsize.compute import native

TORCH = importlib.util.find_spec("torch") is not None


@dataclass(frozen=True)
class Gpu:
    """One CUDA device."""

    name: str
    memory: int
    """Bytes."""
    fp8: bool = False
    """Whether it has fp8 matrix products: Ada, Hopper and later."""


@dataclass(frozen=True)
class Machine:
    """Facts about this machine."""

    processor: str
    cores: int
    memory: int
    """Bytes that a process may use: the machine's memory, or the container's limit where that is smaller."""
    available: int
    """Bytes of `memory` that are free now."""
    bfloat16_products: bool
    """Whether the CPU has bfloat16 matrix products (avx512_bf16, AMX); otherwise they run in float32."""
    gpus: tuple[Gpu, ...]
    kernels: str | None = None
    """Level of the compiled kernels (`native.library.LEVELS`); None where they are not built."""
    torch: bool = True
    """Whether torch is installed. Without it only the compiled kernels run, on the CPU."""

    @property
    def threads(self) -> int:
        """Threads that compute on the CPU: OMP_NUM_THREADS, or one a physical core. Two threads of a core would
        share its multipliers."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return int(asked) if asked.isdigit() and int(asked) else min(psutil.cpu_count(False) or self.cores, self.cores)


def this_machine() -> Machine:
    """Inspect this machine: a few milliseconds, and torch's import where there may be a GPU."""
    processor, flags = _processor()
    memory, available = psutil.virtual_memory().total, psutil.virtual_memory().available
    limit, free = _container_memory()
    memory, available = min(memory, limit), min(available, free)
    return Machine(
        processor=processor,
        cores=min(_own_cores(), _container_cores()),
        memory=memory,
        available=available,
        bfloat16_products=not flags.isdisjoint(("avx512_bf16", "amx_bf16")),
        gpus=_gpus(),
        kernels=native.level(),
        torch=TORCH,
    )


def _processor() -> tuple[str, frozenset[str]]:
    """The processor's name, and on Linux its instruction set flags."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return name, frozenset()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", name), frozenset(facts.get("flags", "").split())


def _gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch finds. Without NVIDIA's driver there are none, and torch is not imported."""
    if not TORCH or (sys.platform == "linux" and not _loads("libcuda.so.1")):
        return ()
    import torch

    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Gpu(d.name, d.total_memory, fp8=(d.major, d.minor) >= (8, 9)) for d in devices)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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
"""Files of control groups of version 2 and 1."""


def _container_memory() -> tuple[int, int]:
    """The limit of this process's control group and its free part, in bytes; very large where there is no limit.

    Cached file pages count as free, because the kernel reclaims them: a model that was just downloaded fills the cache.
    """
    for limit_file, used_file, stat_file, cache_name, shared_name in _MEMORY_FILES:
        try:
            limit, used = (CGROUP / limit_file).read_text().strip(), int((CGROUP / used_file).read_text())
            lines = (CGROUP / stat_file).read_text().splitlines()
        except (OSError, ValueError):
            continue
        if limit.isdigit():
            stat = dict(line.split(maxsplit=1) for line in lines)
            reclaimable = int(stat.get(cache_name, 0)) - int(stat.get(shared_name, 0))
            return int(limit), max(int(limit) - used + reclaimable, 0)
    return _UNLIMITED, _UNLIMITED


def _container_cores() -> int:
    """The control group's CPU quota in cores, rounded up; a very large number where there is no quota."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / f).read_text() for f in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit():
            return max(math.ceil(int(quota) / int(period)), 1)
    return _UNLIMITED
