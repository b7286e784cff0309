"""Output files of commands appear complete or not at all, and replace another file only when forced."""

from pathlib import Path

import pytest

from annals.cli.export import OutputExists, output_file, require_absent


def test_existing_file_is_kept_without_force(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    target.write_bytes(b"the only copy")

    with pytest.raises(OutputExists, match="--force"), output_file(target, force=False) as file:
        file.write(b"new")

    assert target.read_bytes() == b"the only copy"


def test_force_replaces_in_one_step(tmp_path: Path) -> None:
    target = tmp_path / "backup"
    target.write_bytes(b"former")

    with output_file(target, force=True) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"former"

    assert target.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [target]
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("force", [False, True])
def test_failed_write_leaves_the_folder_as_it_was(tmp_path: Path, force: bool) -> None:
    former = tmp_path / "former"
    former.write_bytes(b"former")
    target = former if force else tmp_path / "new"

    def write() -> None:
        with output_file(target, force=force) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()

    assert former.read_bytes() == b"former"
    assert [*tmp_path.iterdir()] == [former]


def test_file_that_appears_during_the_write_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "backup"

    def write() -> None:
        with output_file(target, force=False) as file:
            file.write(b"mine")
            target.write_bytes(b"of another process")

    with pytest.raises(OutputExists):
        write()

    assert target.read_bytes() == b"of another process"
    assert [*tmp_path.iterdir()] == [target]


def test_dangling_link_counts_as_an_existing_file(tmp_path: Path) -> None:
    target = tmp_path / "link"
    target.symlink_to(tmp_path / "nowhere")

    with pytest.raises(OutputExists):
        require_absent(target, force=False)
