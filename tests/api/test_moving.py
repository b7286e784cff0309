"""An export moves a whole instance with its keys. Without keys, the import reports the sealed values as unreadable."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client import Client
from tests.instance import AnnalsInstance, annals, instance_of_its_own

CODE = "export default async ({ res }) => res.text('moved ' + process.env.WORD);"
PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def origin() -> Iterator[AnnalsInstance]:
    """Run the instance that is exported; it must hold no data of other tests."""
    with instance_of_its_own() as instance:
        yield instance


@pytest.fixture
def another() -> Iterator[AnnalsInstance]:
    """Run an empty instance with its own master key."""
    with instance_of_its_own() as instance:
        yield instance


@pytest.mark.parametrize("with_keys", [True, False], ids=["with keys", "without keys"])
def test_moved_function_runs_with_its_variables(
    origin: AnnalsInstance, another: AnnalsInstance, tmp_path: Path, with_keys: bool
) -> None:
    here = Client(origin.endpoint, origin.headers)
    here.function("moving", CODE)
    try:
        variable = {"key": "WORD", "value": "whole", "secret": False, "variableId": "word"}
        here.call("POST", "/functions/moving/variables", json=variable)
        (tmp_path / "passphrase").write_text(PASSPHRASE)
        keys = ("--with-keys", str(tmp_path / "k"), "--passphrase-file", str(tmp_path / "passphrase")) * with_keys
        done = annals(
            *("export", "--contents", "--output", str(tmp_path / "e"), *keys, "--data", str(origin.data)),
        )
        assert done.returncode == 0, done.stderr
        assert PASSPHRASE not in done.stdout + done.stderr

        imported = annals("import", str(tmp_path / "e"), *keys, "--data", str(another.data), "--json")

        assert imported.returncode == 0, imported.stderr
        there = Client(another.endpoint, origin.headers)  # the API keys come from the imported log
        (listed,) = [one for one in there.call("GET", "/functions")["functions"] if one["$id"] == "moving"]
        (shown,) = listed["vars"]
        assert (shown["key"], shown["value"], shown["secret"]) == ("WORD", "whole" * with_keys, False)
        unreadable = json.loads(imported.stdout)["unreadable"]
        if with_keys:
            assert set(unreadable.values()) == {0}
        else:
            assert unreadable["variables"] >= 1
            failed = there.execute("moving", method="GET")
            assert failed["status"] == "failed"
            assert "The variable WORD cannot be read" in failed["errors"]
            there.call("PUT", "/functions/moving/variables/word", json={"key": "WORD", "value": "whole"})
        assert there.execute("moving", method="GET")["responseBody"] == "moved whole"
    finally:
        here.call("DELETE", "/functions/moving")
