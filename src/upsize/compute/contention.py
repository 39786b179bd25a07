"""Contention: the share of the CPU time that this process may use which went to others meanwhile."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

CGROUP = Path("/sys/fs/cgroup")
MIN_SECONDS = 0.1
"""Seconds of an interval at least: the kernel counts CPU time in ticks of 10 ms."""
BUSY = 0.1
"""Share that others take from which a measurement counts as disturbed: background work of a quiet machine takes some
per cent."""


class Counts(NamedTuple):
    """Seconds since some instant in the past."""

    wall: float
    own: float
    machine: float
    """Of all processes, and what the hypervisor gave to other machines (steal), on the CPUs that this process uses."""
    group: float | None
    """Of all processes of this control group; None where that is not known."""


def share_taken(then: Counts, now: Counts, cpus: int, threads: int, quota: float | None) -> float:
    """Share of the time that `threads` want between two instants which others do not leave. Pure."""
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
    """Measures from its making, or from the last `restart`, to each `share`."""

    def __init__(self, threads: int | None = None) -> None:
        """`threads`: how many of this process compute at once; by default one on each CPU that it may use."""
        self._cpus = _usable_cpus()
        self._threads = min(threads or len(self._cpus), len(self._cpus))
        self._quota = quota_cores()
        self._begun = self._counts()

    def restart(self) -> None:
        """Begin the interval anew."""
        self._begun = self._counts()

    def share(self) -> float:
        """Of the time that the threads want, what others do not leave: 0 on a quiet machine, nearly 1 on one that is
        overrun. 0 for an interval shorter than SHORTEST."""
        return share_taken(self._begun, self._counts(), len(self._cpus), self._threads, self._quota)

    def _counts(self) -> Counts:
        each = psutil.cpu_times(percpu=True)
        mine = [each[i] for i in self._cpus if i < len(each)] or each
        machine = sum(_busy(times) for times in mine)
        children = os.times()
        own = time.process_time() + children.children_user + children.children_system
        return Counts(time.monotonic(), own, machine, group_seconds())


def _busy(times: Any) -> float:
    """All but idle; guests are counted as user time already."""
    told = times._asdict()
    return sum(float(v) for k, v in told.items() if k not in ("idle", "iowait", "guest", "guest_nice"))


def _usable_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def quota_cores() -> float | None:
    """Cores that the control group may use; None without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / f).read_text() for f in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdigit():
            return int(quota) / int(period)
    return None


def group_seconds() -> float | None:
    """CPU seconds of all processes of the control group so far; None where it does not count them."""
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
