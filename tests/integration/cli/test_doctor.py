"""`annals doctor` on this machine."""

import json
import os
import socket
from pathlib import Path
from typing import Any

from tests.instance import annals


def examined(*options: str, **settings: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = annals("doctor", "--json", *options, environment=settings)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"] is (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in found["checks"]}


def test_doctor_reports_a_capable_machine_and_creates_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    code, checks = examined("--data", str(tmp_path / "data"), ANNALS_PORT=str(port), ANNALS_DRIVER="sandbox")

    assert code == 0, [check for check in checks.values() if not check["ok"]]
    assert {"python", "data folder", "disk space", "port", "embedded postgres", "embedded valkey"} <= {*checks}
    assert {"driver sandbox", "driver docker", "limits"} <= {*checks}
    assert not (tmp_path / "data").exists()


def test_doctor_accepts_a_strict_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        _, checks = examined("--data", str(tmp_path), ANNALS_PORT="0", ANNALS_DRIVER="sandbox")
    finally:
        os.umask(former)

    assert checks["driver sandbox"]["ok"], checks["driver sandbox"]


def test_doctor_failure_names_the_next_step_and_sets_the_exit_code(tmp_path: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, checks = examined(
            "--data",
            str(tmp_path),
            ANNALS_PORT=str(taken.getsockname()[1]),
            ANNALS_DATABASE_URL=nowhere,
            ANNALS_REDIS_URL="redis://127.0.0.1:1/0",
        )

    assert code == 1
    failed = {name for name, check in checks.items() if not check["ok"]}
    assert {"port", "postgres", "queue"} <= failed
    assert all(checks[name]["fix"] for name in failed)
