"""The settings of the Open Runtimes API: off by default, and refused with a sentence if they cannot work."""

import subprocess
import sys
from pathlib import Path

import pytest

from annals.cli.role_executor import configured
from annals.settings import Invalid, read

SECRET = "sixteen-letters-or-more"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


def test_open_runtimes_api_is_off_by_default() -> None:
    assert configured(read({})).open_runtimes is None


def test_open_runtimes_api_gets_address_secret_and_folder(tmp_path: Path, secret: Path) -> None:
    def open_runtimes(listen: str, **more: str) -> object:
        settings = {"ANNALS_DATA": str(tmp_path), "ANNALS_FACADE_SECRET_FILE": str(secret), **more}
        return configured(read({"ANNALS_FACADE_LISTEN": listen, **settings})).open_runtimes

    found = open_runtimes("127.0.0.1:9900")
    assert found is not None
    assert (found.host, found.port, found.secret, found.storage) == (  # type: ignore[attr-defined]
        *("127.0.0.1", 9900, SECRET, str(tmp_path / "facade")),
    )
    assert SECRET not in repr(found)
    assert open_runtimes("[::1]:1", ANNALS_FACADE_STORAGE_URL="s3://b/").host == "::1"  # type: ignore[attr-defined]


@pytest.mark.parametrize("listen", ["9900", ":9900", "host:", "host:http", "host:99999", "tcp:host"])
def test_invalid_address_is_refused(listen: str, secret: Path) -> None:
    with pytest.raises(Invalid, match="ANNALS_FACADE_LISTEN"):
        configured(read({"ANNALS_FACADE_LISTEN": listen, "ANNALS_FACADE_SECRET_FILE": str(secret)}))


@pytest.mark.parametrize("content", [None, b"", b"short", b"\xff" * 40])
def test_invalid_secret_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Invalid, match="ANNALS_FACADE_SECRET_FILE"):
        configured(read({"ANNALS_FACADE_LISTEN": "127.0.0.1:1", "ANNALS_FACADE_SECRET_FILE": str(path)}))


def test_executor_without_the_facade_imports_no_web_framework() -> None:
    check = "import sys, annals.cli.role_executor; sys.exit('litestar' in sys.modules or 'uvicorn' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
