"""Control groups of both versions are found, written and read as the kernel presents them."""

import os
from pathlib import Path

import pytest

from annals.domain.ports import Limits
from annals.executor.isolation import cgroups

LIMITS = Limits(cpus=0.5, memory_mb=64)


def membership(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "self-cgroup"
    file.write_text(text)
    return file


@pytest.fixture
def version1(tmp_path: Path) -> cgroups.Hierarchy:
    root = tmp_path / "cgroup"
    for controller in ("memory", "cpu,cpuacct", "pids"):
        (root / controller / "mine").mkdir(parents=True)
    own = membership(tmp_path, "5:pids:/mine\n4:memory:/mine\n1:cpu,cpuacct:/mine\n0::/\n")
    hierarchy = cgroups.find(tmp_path / "work", root, own)
    assert hierarchy is not None
    return hierarchy


def created(hierarchy: cgroups.Hierarchy, root: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Create a group, with the files that the kernel would create; return what is written into them."""
    for parent in root.rglob("annals-*"):
        (parent / "g").mkdir()
        for name in names:
            (parent / "g" / name).touch()
    hierarchy.create("g", LIMITS, 32)
    return {p.name: p.read_text() for p in root.rglob("*") if p.is_file() and p.parent.name == "g" and p.read_text()}


def test_version_1_bounds_each_resource_in_its_own_tree(version1: cgroups.Hierarchy, tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "cpu.cfs_quota_us", "cpu.cfs_period_us", "pids.max")

    assert version1.resources == {"memory", "cpu", "pids"}
    assert created(version1, tmp_path / "cgroup", names) == {
        "memory.limit_in_bytes": str(64 * 1024 * 1024),
        "cpu.cfs_quota_us": "50000",
        "cpu.cfs_period_us": "100000",
        "pids.max": "32",
    }


def version2(tmp_path: Path, delegated: str) -> cgroups.Hierarchy | None:
    root = tmp_path / "cgroup"
    (root / "own").mkdir(parents=True)
    (root / "cgroup.controllers").write_text(delegated)
    (root / "own" / "cgroup.procs").write_text("")
    # The kernel gives a new group its parent's switched-on controllers; a folder made beforehand plays that.
    parent = root / "own" / cgroups_name(tmp_path / "work")
    parent.mkdir()
    for folder in (root / "own", parent):
        (folder / "cgroup.controllers").write_text(delegated)
        (folder / "cgroup.subtree_control").write_text(delegated)
    return cgroups.find(tmp_path / "work", root, membership(tmp_path, "0::/own\n"))


def cgroups_name(work: Path) -> str:
    import hashlib

    return f"annals-{hashlib.sha256(os.fsencode(work)).hexdigest()[:12]}"


def test_version_2_bounds_all_in_one_folder(tmp_path: Path) -> None:
    hierarchy = version2(tmp_path, "cpu memory pids")
    assert hierarchy is not None
    names = ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "pids.max")

    assert created(hierarchy, tmp_path / "cgroup", names) == {
        "memory.max": str(64 * 1024 * 1024),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "cpu.max": "50000 100000",
        "pids.max": "32",
    }


@pytest.mark.parametrize("version", [1, 2])
def test_closed_hierarchies_leave_no_folders(tmp_path: Path, version: int, request: pytest.FixtureRequest) -> None:
    if version == 1:
        hierarchy = request.getfixturevalue("version1")
        parents = list((tmp_path / "cgroup").rglob("annals-*"))
        assert len(parents) == 3
    else:
        hierarchy = version2(tmp_path, "cpu memory pids")
        parents = [tmp_path / "cgroup" / "own" / cgroups_name(tmp_path / "work")]
    for parent in parents:
        (parent / "left").mkdir()
        for file in parent.glob("cgroup.*"):
            file.unlink()  # the kernel's own files do not keep a group's folder
    hierarchy.close()

    assert [parent for parent in parents if parent.exists()] == []


def test_only_delegated_controllers_count_as_limited(tmp_path: Path) -> None:
    hierarchy = version2(tmp_path, "pids")

    assert hierarchy is not None
    assert hierarchy.resources == {"pids"}


def test_without_control_groups_there_is_no_hierarchy(tmp_path: Path) -> None:
    assert cgroups.find(tmp_path / "work", tmp_path / "none", membership(tmp_path, "")) is None


@pytest.mark.parametrize(
    ("text", "starved"),
    [("oom_kill 0\n", False), ("low 0\noom 1\noom_kill 2\n", True), ("under_oom 0\noom_kill 1\n", True)],
)
def test_kill_for_want_of_memory_is_read_from_the_counters(tmp_path: Path, text: str, starved: bool) -> None:
    (tmp_path / "events").write_text(text)

    assert cgroups.FolderGroup([tmp_path], tmp_path / "events").out_of_memory() is starved


def test_deferred_group_gets_left_processor_time_where_the_kernel_can(
    version1: cgroups.Hierarchy, tmp_path: Path
) -> None:
    created(version1, tmp_path / "cgroup", ("memory.limit_in_bytes", "cpu.cfs_period_us", "pids.max", "cpu.idle"))
    group = version1.create("g", LIMITS, 32)
    files = list((tmp_path / "cgroup").rglob("cpu.idle"))
    assert files

    group.defer(deferred=True)
    assert {file.read_text() for file in files} == {"1"}
    group.defer(deferred=False)
    assert {file.read_text() for file in files} == {"0"}

    for file in files:
        file.unlink()
    group.defer(deferred=True)
    assert not list((tmp_path / "cgroup").rglob("cpu.idle"))
