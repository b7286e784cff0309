"""One standard word for each thing: the counts of words that are still to be replaced may only fall."""

import pytest

from tests.architecture.vocabulary import duplicate_names, in_python, uses

REMAINING = {"annals": 4, "tests": 2, "bench": 0, "docs": 4}
"""Uses of banned words that are left, by folder: in annals the stored field `what` of an event, in tests the method
`undo` of pytest's `monkeypatch`, in docs the process name of the fork server and a user of the system."""


@pytest.mark.parametrize("folder", REMAINING)
def test_banned_words_only_disappear(folder: str) -> None:
    found = [str(use) for use in uses(folder)]
    assert len(found) <= REMAINING[folder], "\n".join(["write the standard terms in new code:", *found[-40:]])


def test_public_class_name_means_one_thing() -> None:
    assert duplicate_names() == {}


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("stint = 1", "permit"),
        ("def settle_later(): ...", "record outcome"),
        ("class WakeUps: ...", "job message"),
        ("def test_what_is_kept_is_whole(): ...", "a specification that begins with its subject"),
        ("def test_a_log_is_whole(): ...", "a specification that begins with its subject"),
        ('"""Whoever asks is told."""', "the noun that is meant"),
        ("x = 1  # nobody waits", "no process, a client, any caller: the noun that is meant"),
    ],
)
def test_banned_word_is_found_with_its_replacement(line: str, instead: str) -> None:
    assert instead in {use.instead for use in in_python("module.py", line)}


@pytest.mark.parametrize("line", ["replaced = aggregate", "artefact = delegate", '"""Return the permit."""'])
def test_standard_word_is_not_found(line: str) -> None:
    assert [*in_python("module.py", line)] == []
