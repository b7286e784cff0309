"""Origins of sources, as they are stored."""

from annals.domain.origin import LONGEST, Origin, storable


def test_origin_is_stored_without_nul_and_bounded() -> None:
    origin = Origin(repository_name="app", commit_message="a\0b", commit_author="x" * (LONGEST + 1))

    kept = storable(origin)

    assert (kept.repository_name, kept.commit_message) == ("app", "a\ufffdb")
    assert kept.commit_author == "x" * LONGEST
