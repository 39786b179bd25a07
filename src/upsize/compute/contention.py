"""Contention: the share of this process's CPU time that other processes take meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

CGROUP = Path("/sys/fs/cgroup")
MIN_SECONDS = 0.1
"""Shortest interval in seconds. The kernel counts CPU time in ticks of 10 ms."""
BUSY = 0.1
"""Share from which a measurement counts as disturbed. Background work of a quiet machine takes a few per cent."""


class Counts(NamedTuple):
    """CPU seconds and wall-clock seconds since some fixed instant."""

    wall: float
    own: float
    machine: float
    """CPU seconds of all processes on the CPUs that this process may use, with those that the hypervisor gave to other
    machines (steal)."""
    group: float | None
    """CPU seconds of all processes of this control group; None where the system does not count them."""


def share_taken(then: Counts, now: Counts, cpus: int, threads: int, quota: float | None) -> float:
    """Share of the CPU time that `threads` threads want between two instants and do not get. Pure."""
    wall, own = now.wall - then.wall, now.own - then.own
    if wall < MIN_SECONDS:
        return 0.0
    free = cpus * wall - max(now.machine - then.machine - own, 0.0)
    wanted = threads * wall
    if quota is not None and now.group is not None and then.group is not None:
        free = min(free, quota * wall - max(now.group - then.group - own, 0.0))
        wanted = min(wanted, quota * wall)
    return min(max(1 - free / wanted, 0.0), 1.0)


class Contention:
    """Measures contention between its creation, or the last `restart`, and each call of `share`."""

    def __init__(self, threads: int | None = None) -> None:
        """`threads` of this process compute at once; by default one on each CPU that it may use."""
        self._cpus = _usable_cpus()
        self._threads = min(threads or len(self._cpus), len(self._cpus))
        self._quota = quota_cores()
        self._begun = self._counts()

    def restart(self) -> None:
        """Start a new interval."""
        self._begun = self._counts()

    def share(self) -> float:
        """Share of the wanted CPU time that other processes take: 0 on a quiet machine, near 1 on an overloaded one.
        0 for an interval shorter than MIN_SECONDS."""
        return share_taken(self._begun, self._counts(), len(self._cpus), self._threads, self._quota)

    def _counts(self) -> Counts:
        per_cpu = psutil.cpu_times(percpu=True)
        usable = [per_cpu[i] for i in self._cpus if i < len(per_cpu)] or per_cpu
        machine = sum(_busy(times) for times in usable)
        children = os.times()
        own = time.process_time() + children.children_user + children.children_system
        return Counts(time.monotonic(), own, machine, group_seconds())


def _busy(times: Any) -> float:
    """All seconds but the idle ones. User time already includes that of guests."""
    not_counted = ("idle", "iowait", "guest", "guest_nice")
    return sum(float(seconds) for state, seconds in times._asdict().items() if state not in not_counted)


def _usable_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def quota_cores() -> float | None:
    """Cores that the control group may use; None where it has no limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / f).read_text() for f in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit():
            return int(quota) / int(period)
    return None


def group_seconds() -> float | None:
    """CPU seconds of all processes of the control group so far; None where the system does not count them."""
    try:
        lines = (CGROUP / "cpu.stat").read_text().splitlines()
        usage = dict(line.split(maxsplit=1) for line in lines)["usage_usec"]
        return int(usage) / 1e6
    except (OSError, ValueError, KeyError):
        pass
    try:
        return int((CGROUP / "cpuacct/cpuacct.usage").read_text()) / 1e9
    except (OSError, ValueError):
        return None
