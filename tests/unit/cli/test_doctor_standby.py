"""The lines of `annals doctor` about a standby, by the settings and state of Postgres."""

import pytest

from annals.cli.doctor import standby


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
