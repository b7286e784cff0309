"""Log entries as text for people."""

import json

from hypothesis import given
from hypothesis import strategies as st

from annals.telemetry.log_text import LEVELS, as_text, plain_json, shown

ENTRY = {
    "time": "2026-01-31T12:00:00.123456Z",
    "role": "worker1",
    "level": "info",
    "event": "build_ended",
    "deployment": "d1",
    "seconds": 1.5,
    "why": "two words",
}


def test_entry_is_one_line_of_time_process_event_and_details() -> None:
    assert (
        as_text(ENTRY, colour=False) == '12:00:00.123 worker1   build ended  deployment=d1 seconds=1.5 why="two words"'
    )


def test_nested_details_have_no_quotes() -> None:
    text = as_text({**ENTRY, "event": "limits", "limits": {"memory": "kernel", "cpu": "none"}}, colour=False)

    assert "limits=memory:kernel,cpu:none" in text


def test_sentence_keeps_its_underscores_and_warnings_say_so() -> None:
    text = as_text({**ENTRY, "level": "warning", "event": "can't read my_file"}, colour=False)

    assert "WARNING can't read my_file" in text


def test_trace_follows_indented() -> None:
    text = as_text({**ENTRY, "exception": "Traceback:\n  line"}, colour=False)

    assert text.splitlines()[1:] == ["    Traceback:", "      line"]


def test_colours_change_no_words() -> None:
    coloured = as_text({**ENTRY, "level": "error"}, colour=True)

    assert "\x1b[31m" in coloured
    assert "ERROR build ended" in coloured


@given(st.dictionaries(st.sampled_from(["event", "role", "time", "level", "body"]), st.text()))
def test_user_values_cannot_break_out_of_their_line(entry: dict[str, str]) -> None:
    text = as_text(entry, colour=False)

    assert text == "" or text.isprintable()


@given(st.dictionaries(st.text(), st.text(), min_size=1), st.booleans())
def test_json_contains_no_terminal_control_characters(entry: dict[str, str], escaped: bool) -> None:
    entry["event"] = "\x7f\x9b31m\u2028\x1b[31m\n"
    text = plain_json(json.dumps(entry, ensure_ascii=escaped))

    assert text.isprintable()
    assert json.loads(text) == entry


def test_entries_below_the_level_are_dropped_and_unknown_levels_kept() -> None:
    assert [level for level in LEVELS if shown({"level": level}, "warning")] == ["warning", "error", "critical"]
    assert shown({"level": "notice"}, "error")
    assert shown({}, "error")
