"""A keys file opens with its passphrase, for its own export, and in no other way."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from annals.store.log.stored_row import LineInvalid, from_line
from annals.store.portable import keys
from annals.store.portable.keys import KeysFileInvalid, PlainKey, decrypt_keys, encrypt_keys
from annals.store.portable.records import from_record_line
from annals.store.proof.notes import Checkpoint

CHECKPOINT = Checkpoint("annals", 7, b"r" * 32, 7, datetime(2026, 1, 31, tzinfo=UTC))
KEYS = [PlainKey(project="p", key_id="0123456789abcdef", key=b"\x00" * 32, created_at="2026-01-31 12:00:00+00")]
PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MEMORY_KIB", 64)


def encrypted(project: str = "") -> bytes:
    return encrypt_keys(KEYS, PASSPHRASE, CHECKPOINT, project)


def changed(**header: Any) -> bytes:
    """Return a keys file with a changed header."""
    content = json.loads(encrypted())
    content["header"].update(header)
    return json.dumps(content).encode()


def test_file_gives_back_its_keys_and_shows_nothing_of_them() -> None:
    content = encrypted("p")

    assert decrypt_keys(content, PASSPHRASE, CHECKPOINT, "p") == KEYS
    assert KEYS[0].key_id.encode() not in content
    assert b64encode(KEYS[0].key) not in content
    header = json.loads(content)["header"]
    assert header["kdf"] == "argon2id"
    assert json.loads(encrypted())["header"]["salt"] != header["salt"]


def test_attempt_of_a_passphrase_costs_at_least_as_rfc_9106_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    header = json.loads(encrypted())["header"]

    assert (header["memory"] >= 64 * 1024, header["passes"] >= 3, header["lanes"] >= 4) == (True, True, True)


def test_wrong_passphrase_opens_nothing() -> None:
    with pytest.raises(KeysFileInvalid, match="passphrase does not open"):
        decrypt_keys(encrypted(), "correct horse", CHECKPOINT, "")


@pytest.mark.parametrize(
    "content", [changed(size=8), changed(project="p"), changed(passes=4), changed(salt=b64encode(b"s" * 16).decode())]
)
def test_changed_header_opens_nothing(content: bytes) -> None:
    with pytest.raises(KeysFileInvalid, match="passphrase does not open"):
        decrypt_keys(content, PASSPHRASE, CHECKPOINT, "")


@pytest.mark.parametrize(("checkpoint", "project"), [(CHECKPOINT._replace(root=b"o" * 32), ""), (CHECKPOINT, "p")])
def test_file_fits_no_other_export(checkpoint: Checkpoint, project: str) -> None:
    with pytest.raises(KeysFileInvalid, match="another export"):
        decrypt_keys(encrypted(), PASSPHRASE, checkpoint, project)


@pytest.mark.parametrize("cost", [{"memory": 2**31}, {"passes": 10**6}, {"lanes": 1000}])
def test_keys_file_with_excessive_costs_is_rejected_before_its_key_is_derived(cost: dict[str, int]) -> None:
    with pytest.raises(KeysFileInvalid, match="more memory or time"):
        decrypt_keys(changed(**cost), PASSPHRASE, CHECKPOINT, "")


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", changed(kdf="md5"), changed(form=9), changed(memory=1), changed(salt="")]
)
def test_other_files_are_refused_with_a_sentence(content: bytes) -> None:
    with pytest.raises(KeysFileInvalid):
        decrypt_keys(content, PASSPHRASE, CHECKPOINT, "")


@pytest.mark.parametrize("content", [b'{"header": "\xff"}', b'{"a": ' + b"[" * 1500, b"", b"[]"])
def test_file_that_cannot_be_read_is_refused(content: bytes) -> None:
    with pytest.raises(KeysFileInvalid):
        decrypt_keys(content, PASSPHRASE, CHECKPOINT, "p")
    with pytest.raises(LineInvalid):
        from_line(content)
    with pytest.raises(LineInvalid):
        from_record_line(content)
