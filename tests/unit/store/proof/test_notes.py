"""Signed notes in the public format, checked by a verification that shares no code with Annals."""

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from annals.store.proof.notes import Checkpoint, NoteInvalid, Signer, Verifier, signing_key

SIGNER = Signer("annals/test", bytes(range(32)))
CHECKPOINT = Checkpoint("annals/test", 7, bytes(32), 9, datetime(2026, 11, 24, 9, 30, tzinfo=UTC))
NOTE = SIGNER.sign(CHECKPOINT)


def test_note_is_text_an_empty_line_and_a_signature() -> None:
    text, _, signature = NOTE.partition("\n\n")

    assert text.split("\n") == [
        "annals/test", "7", base64.b64encode(bytes(32)).decode(), "position 9", "time 2026-11-24T09:30:00Z",
    ]  # fmt: skip
    dash, name, encoded = signature.rstrip("\n").split(" ")
    public = base64.b64decode(str(SIGNER.verifier).split("+", 2)[2])[1:]
    signed = base64.b64decode(encoded)
    assert (dash, name) == ("\N{EM DASH}", "annals/test")
    assert signed[:4] == hashlib.sha256(b"annals/test\n\x01" + public).digest()[:4]
    Ed25519PublicKey.from_public_bytes(public).verify(signed[4:], f"{text}\n".encode())


def test_verifier_key_opens_the_notes_of_its_log() -> None:
    assert Verifier.parse(str(SIGNER.verifier)).open(NOTE) == CHECKPOINT


def test_signatures_of_witnesses_are_passed_over() -> None:
    witness = Signer("witness", bytes(32)).sign(CHECKPOINT).rpartition("\n\n")[2]

    assert SIGNER.verifier.open(NOTE + witness) == CHECKPOINT


@pytest.mark.parametrize(
    "note",
    [
        NOTE.replace("\n7\n", "\n8\n"),
        NOTE.replace("position 9", "position 8"),
        NOTE[:-10] + "AAAAAAAA=\n",
        NOTE.replace("annals/test ", "other "),
        NOTE.rstrip("\n"),
        NOTE.replace("\n\n", "\n"),
        "",
    ],
)
def test_note_that_was_changed_is_refused(note: str) -> None:
    with pytest.raises(NoteInvalid):
        SIGNER.verifier.open(note)


def test_key_of_another_log_with_the_same_name_signs_nothing() -> None:
    with pytest.raises(NoteInvalid, match="not signed by"):
        SIGNER.verifier.open(Signer("annals/test", bytes(32)).sign(CHECKPOINT))


def test_signing_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "seal.key"

    first, second = signing_key(path), signing_key(path)

    assert str(first.verifier) == str(second.verifier)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith(f"PRIVATE+KEY+{first.name}+{first.verifier.hash.hex()}+")


@pytest.mark.parametrize("text", ["", "nonsense", "PRIVATE+KEY+a+00000000+AAAA", "PRIVATE+KEY+a+b"])
def test_file_that_holds_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "seal.key"
    path.write_text(text)

    with pytest.raises(NoteInvalid):
        signing_key(path)


@pytest.mark.parametrize("text", ["", "a+b", "annals/test+00000000+AQ==", str(SIGNER.verifier).replace("test", "rest")])
def test_invalid_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        Verifier.parse(text)
