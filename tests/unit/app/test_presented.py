"""The session that a request presents."""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annals.app.identity.presented import Presented, as_text, has_cookie, presented
from annals.app.identity.secret_keys import digest

PRESENTED = Presented("ada", digest("secret"))
TEXT = as_text("ada", "secret")


def test_cookie_precedes_header_and_header_precedes_fallback() -> None:
    other = as_text("bob", "x")
    fallback = f'{{"a_session_p":"{other}"}}'.encode()

    assert presented({b"x-fallback-cookies": fallback}, "p") == Presented("bob", digest("x"))
    assert presented({b"x-appwrite-session": TEXT.encode(), b"x-fallback-cookies": fallback}, "p") == PRESENTED
    both = {b"cookie": f"a_session_p={TEXT}".encode(), b"x-appwrite-session": other.encode()}
    assert presented(both, "p") == PRESENTED
    broken = {**both, b"cookie": b"a_session_p=nonsense"}
    assert presented(broken, "p") == Presented("bob", digest("x"))


def test_cookie_of_another_project_is_ignored() -> None:
    headers = {b"cookie": f"a_session_q={TEXT}; a_session_p_other={TEXT}".encode()}

    assert presented(headers, "p") is None
    assert not has_cookie(headers, "p")
    assert has_cookie(headers, "q")


def test_session_with_an_invalid_user_id_is_ignored() -> None:
    assert presented({b"x-appwrite-session": as_text("_a", "s").encode()}, "p") is None
    assert presented({b"x-appwrite-session": b64encode(b'{"id":1,"secret":2}')}, "p") is None


@given(value=st.binary(max_size=200))
def test_malformed_sessions_are_ignored(value: bytes) -> None:
    for headers in (
        {b"cookie": b"a_session_p=" + value},
        {b"x-appwrite-session": value},
        {b"x-fallback-cookies": value},
        {b"x-appwrite-session": b64encode(value)},
    ):
        presented(headers, "p")


@pytest.mark.parametrize(
    "value", [b'{"id":"\xff"}', b'{"a_session_p":"\xed\xa0\x80"}', b'{"a":' + b"[" * 1500, b'{"a":' * 1500]
)
def test_unreadable_json_is_ignored(value: bytes) -> None:
    """Text that is not UTF-8 and deep nesting raise no error of the decoder's own kind."""
    assert presented({b"x-fallback-cookies": value}, "p") is None
    assert presented({b"x-appwrite-session": b64encode(value)}, "p") is None


@given(user_id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,35}", fullmatch=True), secret=st.text(min_size=1))
def test_issued_session_is_recognized(user_id: str, secret: str) -> None:
    headers = {b"x-appwrite-session": as_text(user_id, secret).encode()}

    assert presented(headers, "p") == Presented(user_id, digest(secret))
