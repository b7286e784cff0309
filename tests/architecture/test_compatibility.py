"""The compatibility page matches the code."""

from tests.architecture import compatibility


def test_compatibility_page_is_up_to_date() -> None:
    assert compatibility.PAGE.read_text() == compatibility.page(), "run `make docs`"
