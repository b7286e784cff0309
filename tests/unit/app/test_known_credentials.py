"""Credentials that were valid a moment ago are remembered for a while."""

from annals.app.identity.known_credentials import KNOWN_SECONDS, KnownCredentials


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_valid_credential_is_known_for_a_while_after_each_use() -> None:
    time = Clock()
    known = KnownCredentials(clock=time)
    known.add("a")

    time.now += KNOWN_SECONDS - 1
    assert "a" in known
    known.add("a")
    time.now += KNOWN_SECONDS - 1
    assert "a" in known
    time.now += 1
    assert "a" not in known


def test_failed_credential_is_forgotten() -> None:
    known = KnownCredentials()
    known.add("a")

    known.discard("a")
    known.discard("b")

    assert "a" not in known


def test_known_credentials_are_bounded_and_evict_the_least_recently_used() -> None:
    known = KnownCredentials(most=2)
    for credential in ("a", "b", "a", "c"):
        known.add(credential)

    assert [credential for credential in "abc" if credential in known] == ["a", "c"]
