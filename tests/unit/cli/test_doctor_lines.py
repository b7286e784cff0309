"""Lines of `annals doctor`: right, wrong, or not needed here."""

import click

from annals.cli.doctor import _lines, size_check
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
