"""The rules of isolated networks list the open ports and close all others."""

from pathlib import Path

import pytest

from annals.executor.isolation import kernel, network
from annals.executor.isolation.network import Networks, rules


def test_only_allowed_ports_of_the_host_are_open() -> None:
    assert "tcp dport { 80, 443 } accept" in rules("an1", "100.64.0.0/22", (80, 443))
    assert "dport {" not in rules("an1", "100.64.0.0/22", ())


def test_metadata_and_neighbours_are_closed() -> None:
    text = rules("an1", "100.64.0.0/22", ())

    assert 'iifname "an1" ip daddr { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16' in text
    assert 'iifname "an1" oifname "an1" drop' in text


def test_services_elsewhere_are_closed_by_address_and_port() -> None:
    closed = (("10.0.0.5", 5432), ("10.0.0.6", 6379))

    assert "ip daddr . tcp dport { 10.0.0.5 . 5432, 10.0.0.6 . 6379 } reject" in rules(
        "an1", "100.64.0.0/22", (), closed
    )
    assert "ip daddr . tcp dport" not in rules("an1", "100.64.0.0/22", ())


def test_shared_bridge_keeps_the_rules_of_earlier_executors() -> None:
    text = network.engine_rules("annals0", (8080,), (("10.0.0.5", 5432),))

    assert "add element inet annals0 open { 8080 }" in text
    assert "add element inet annals0 closed { 10.0.0.5 . 5432 }" in text
    assert "add element" not in network.engine_rules("annals0", (), ())
    assert text.index("flush chain") < text.index("tcp dport @open accept")


def test_reason_is_given_if_a_bridge_cannot_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.unclosable("annals0", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(kernel, "has_capability", lambda number: number != network.NET_ADMIN)
    assert "NET_ADMIN" in network.unclosable("annals0", tmp_path)


def test_capability_is_read_from_the_effective_set() -> None:
    with Path("/proc/self/status").open() as file:
        effective = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff"))

    assert [kernel.has_capability(number) for number in range(41)] == [bool(effective >> n & 1) for n in range(41)]


def test_executors_have_networks_of_their_own_within_the_shared_address_space() -> None:
    made = [Networks(Path(f"/work/{n}")) for n in range(50)]

    assert len({network.subnet for network in made}) > 45
    assert all(str(network.subnet).startswith("100.") and network.subnet.prefixlen == 22 for network in made)
