"""The lines of `annals doctor`: right, wrong, or not needed here."""

import click
import pytest

from annals.cli.doctor import _lines, size_check, standby
from annals.domain.catalogue import SPECIFICATIONS
from annals.executor.service.doctor import HostCheck


def test_unused_driver_is_neither_ok_nor_failed() -> None:
    [line, step] = _lines(
        HostCheck(name="driver docker", ok=True, absent=True, detail="No engine answers.", fix="Start it.")
    )

    assert click.unstyle(line).startswith("– driver docker")
    assert "Start it." in step


def test_size_beyond_the_host_is_explained_with_the_settings() -> None:
    large = SPECIFICATIONS["s-8vcpu-8gb"]

    beyond = size_check(large, cores=2, memory_mib=4096)
    within = size_check(large, cores=8, memory_mib=16384)

    assert beyond.ok
    assert "8 vCPU, 8192 MB" in beyond.detail
    assert "this host has 2 cores and 4096 MB" in beyond.detail
    assert "ANNALS_SPECIFICATION_MAX_CPUS" in beyond.fix
    assert within.fix == ""


@pytest.mark.parametrize(
    ("names", "commit", "waiting", "ok", "said"),
    [
        ("", "on", 0, True, "may lose"),
        ("*", "on", 0, True, "loses nothing"),
        ("*", "remote_apply", 0, True, "loses nothing"),
        ("*", "on", 2, False, "2 commits wait"),
        ("*", "remote_write", 0, False, "may lose"),
        ("*", "local", 0, False, "may lose"),
    ],
)
def test_doctor_reports_the_data_that_a_failover_may_lose(
    names: str, commit: str, waiting: int, ok: bool, said: str
) -> None:
    check = standby({"synchronous_standby_names": names, "synchronous_commit": commit}, waiting)

    assert check.ok is ok
    assert said in check.detail
    assert bool(check.fix) is not ok
