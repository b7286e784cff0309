"""The compatibility page is held to the code."""

from tests.architecture import compatibility


def test_the_compatibility_page_is_what_the_code_says() -> None:
    assert compatibility.PAGE.read_text() == compatibility.page(), "run `make docs`"
