"""What a machine reports: a container's limit is its memory, and cached file pages are free."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from upsize.compute import this_machine

GIB = 1 << 30
V2 = {"memory.max": 4 * GIB, "memory.current": 3 * GIB, "memory.stat": f"anon {GIB}\nfile {2 * GIB}\nshmem 0"}
V1 = {
    "memory/memory.limit_in_bytes": 4 * GIB,
    "memory/memory.usage_in_bytes": 3 * GIB,
    "memory/memory.stat": f"cache 1\ntotal_cache {2 * GIB}\ntotal_shmem 0",
}


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place where the control group's files are looked for, on a machine with 64 GiB of which 48 are free."""
    monkeypatch.setattr("upsize.compute.machine.CGROUP", tmp_path)
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: type("Memory", (), {"total": 64 * GIB, "available": 48 * GIB})
    )
    (tmp_path / "memory").mkdir()
    return tmp_path


def write(folder: Path, files: dict[str, object]) -> None:
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


@pytest.mark.parametrize("files", [V2, V1], ids=["version 2", "version 1"])
def test_a_containers_limit_counts_and_its_cached_files_are_free(cgroup: Path, files: dict[str, object]) -> None:
    write(cgroup, files)
    machine = this_machine()
    assert (machine.memory, machine.available) == (4 * GIB, 3 * GIB)


def test_shared_memory_is_not_free(cgroup: Path) -> None:
    write(cgroup, V2 | {"memory.stat": f"file {2 * GIB}\nshmem {GIB}"})
    assert this_machine().available == 2 * GIB


@pytest.mark.parametrize(
    "files",
    [
        {},
        V2 | {"memory.max": "max"},
        V1 | {"memory/memory.limit_in_bytes": 9223372036854771712},
        V2 | {"memory.max": 99 * GIB},
    ],
    ids=["no control group", "version 2 without a limit", "version 1 without a limit", "a limit above the machine"],
)
def test_without_a_limit_the_machine_counts(cgroup: Path, files: dict[str, object]) -> None:
    write(cgroup, files)
    machine = this_machine()
    assert (machine.memory, machine.available) == (64 * GIB, 48 * GIB)


def test_a_limit_that_is_used_up_leaves_nothing(cgroup: Path) -> None:
    write(cgroup, V2 | {"memory.current": 5 * GIB, "memory.stat": "file 0\nshmem 0"})
    assert this_machine().available == 0


def test_this_machine_is_plausible() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert 0 < machine.available <= machine.memory
    assert machine.processor


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "10000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": 300000, "cpu/cpu.cfs_period_us": 100000}, 3),
        ({"cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 100000}, 8),
        ({}, 8),
    ],
)
def test_a_containers_share_of_time_counts_as_cores(
    cgroup: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, object], cores: int
) -> None:
    monkeypatch.setattr("upsize.compute.machine._own_cores", lambda: 8)
    (cgroup / "cpu").mkdir()
    write(cgroup, files)
    assert this_machine().cores == cores
