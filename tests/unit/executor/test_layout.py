"""The files and variables of the host that sandboxes see."""

from pathlib import Path

from annals.executor.drivers import layout
from annals.executor.toolchains import Toolchain

PYTHON = Toolchain(language="python", version="3.13", prefix=Path("/x"), binary="/b", concurrency=1, libraries="/l")


def test_only_named_variables_pass_and_the_files_they_name_are_shown(tmp_path: Path) -> None:
    bundle, secret = tmp_path / "ca.pem", tmp_path / "folder"
    bundle.touch()
    secret.mkdir()
    host = {
        "PIP_CERT": str(bundle),
        "PIP_INDEX_URL": "https://x",
        "PIP_CACHE_DIR": str(secret),
        "AWS_KEY": "k",
        "PIPE": "no",
    }
    shown, files = layout.passed_through(("PIP_*", "HTTPS_PROXY"), host)

    assert shown == {name: host[name] for name in ("PIP_CERT", "PIP_INDEX_URL", "PIP_CACHE_DIR")}
    assert files == [bundle]


def test_without_names_nothing_passes() -> None:
    assert layout.passed_through((), {"PIP_CERT": "/etc/passwd"}) == ({}, [])


def test_path_variable_of_the_user_comes_after_the_runtimes_own() -> None:
    made = layout.environment(PYTHON, {"PATH": "/mine", "HOME": "/elsewhere", "LD_LIBRARY_PATH": "/m"})

    assert made["PATH"].split(":")[0] == "/opt/runtime/bin"
    assert made["PATH"].endswith(":/mine")
    assert made["HOME"] == "/elsewhere"
    assert made["LD_LIBRARY_PATH"] == "/m:/l"


def test_variables_that_no_environment_can_hold_are_left_out() -> None:
    words = list(layout.variables({"A": "1", "B=C": "2", "": "3", "D": "\0", "E": "--bind"}))

    assert words == ["--setenv", "A", "1", "--setenv", "E", "--bind"]


def test_sandboxs_own_etc_names_one_user_and_holds_no_secret(tmp_path: Path) -> None:
    layout.write_etc(tmp_path / "etc")

    assert (tmp_path / "etc" / "passwd").read_text().count("\n") == 2
    assert not (tmp_path / "etc" / "shadow").exists()
