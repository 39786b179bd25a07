"""What this machine is: cores, memory it may use, instructions that matter, GPUs."""

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
    """Whether it multiplies fp8: Ada, Hopper and later."""


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
    torch: bool = True
    """Whether torch is installed. Without it the compiled kernels do all there is to do, on the CPU."""

    @property
    def threads(self) -> int:
        """Threads that compute on the CPU: OMP_NUM_THREADS, or one for each core. A second thread of a core shares its
        multipliers."""
        asked = os.environ.get("OMP_NUM_THREADS", "")
        return int(asked) if asked.isdigit() and int(asked) else min(psutil.cpu_count(False) or self.cores, self.cores)


def this_machine() -> Machine:
    """Look at the machine. Takes a few milliseconds, and as long as torch takes to import where a GPU may be."""
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
    """Its name, and the instructions that it has: as Linux tells them, elsewhere none."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return name, frozenset()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return facts.get("model name", name), frozenset(facts.get("flags", "").split())


def _gpus() -> tuple[Gpu, ...]:
    """Those that torch finds. Without NVIDIA's driver there are none, and torch need not be imported to say so."""
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
