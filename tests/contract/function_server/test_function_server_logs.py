"""Checks 29-35: logs, in files and through the channel."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.function_server.conftest import Starter
from tests.contract.function_server.instance import Instance, LogReader

NOTICE = "Native logs detected. Use context.log() or context.error() for better experience."
LOGS, ERRORS, END = 0, 1, 2


@pytest.mark.runtime(29)
def test_every_call_has_a_log_id_of_its_own(instance_a: Instance) -> None:
    first, second = instance_a.call("text").log_id, instance_a.call("text").log_id

    assert re.fullmatch("[0-9a-f]{20}", first)
    assert re.fullmatch("[0-9a-f]{20}", second)
    assert first != second


def test_given_log_id_is_used_and_development_has_one(instance_a: Instance, instance_b: Instance) -> None:
    assert instance_a.call("logs", headers={"x-open-runtimes-log-id": "given-1"}).log_id == "given-1"
    assert "Text joined" in instance_a.read("given-1_logs.log")
    assert instance_b.call("text").log_id == "dev"


def test_log_id_cannot_name_a_file_elsewhere(instance_a: Instance) -> None:
    answer = instance_a.call("logs", headers={"x-open-runtimes-log-id": "../outside"})

    assert re.fullmatch("[0-9a-f]{20}", answer.log_id)
    assert list(instance_a.folder.glob("outside*")) == []


@pytest.mark.runtime(30)
def test_every_kind_of_value_is_logged_on_a_line_of_its_own(instance_a: Instance) -> None:
    answer = instance_a.call("logs")

    lines = instance_a.logs_of(answer).split("\n")
    expected = ["Text joined", "42", "4.2", "true", '{"object":"value"}', '["array",1]', "a+b", "", ""]
    assert [line.lower() if line == "True" else line for line in lines] == expected
    assert instance_a.errors_of(answer) == "Only an error\n"


@pytest.mark.runtime(31)
def test_native_output_is_logged_in_order_behind_one_notice(instance_a: Instance) -> None:
    lines = instance_a.logs_of(instance_a.call("native")).split("\n")

    assert lines[:5] == ["before", NOTICE, "Printed 1", "partial line", "after"]
    assert lines.count(NOTICE) == 1


@pytest.mark.runtime(32)
def test_call_is_cut_at_8000_characters(instance_a: Instance) -> None:
    answer = instance_a.call("long_lines")

    cut = "... Log truncated due to size limit (8000 characters)\n"
    assert instance_a.logs_of(answer) == "l" * 8000 + cut
    assert instance_a.errors_of(answer) == "e" * 8000 + cut


@pytest.mark.runtime(33)
def test_logging_can_be_switched_off(instance_a: Instance) -> None:
    before = sorted(instance_a.logs_dir.iterdir())

    for action in ("logs", "native", "throw"):
        answer = instance_a.call(action, headers={"x-open-runtimes-logging": "disabled"})
        assert answer.log_id == ""

    assert sorted(instance_a.logs_dir.iterdir()) == before


@pytest.mark.parametrize("value", ["", "enabled"])
def test_logging_header_switches_logging_on(instance_a: Instance, value: str) -> None:
    answer = instance_a.call("logs", headers={"x-open-runtimes-logging": value})

    assert "Text joined" in instance_a.logs_of(answer)


@pytest.mark.runtime(34)
def test_exception_is_in_the_errors_with_the_file(instance_a: Instance, language: str) -> None:
    answer = instance_a.call("throw")

    assert (answer.status, answer.body) == (500, b"")
    assert "Something broke" in instance_a.errors_of(answer)
    assert {"python": "main.py", "node": "index.js"}[language] in instance_a.errors_of(answer)
    assert instance_a.logs_of(answer) == ""


@pytest.mark.runtime(35)
def test_output_before_an_exception_is_kept(instance_a: Instance) -> None:
    answer = instance_a.call("log_then_throw")

    assert instance_a.logs_of(answer) == "said before\n"
    assert "Something broke" in instance_a.errors_of(answer)


@pytest.mark.runtime(46)
def test_seven_long_texts_are_all_there(instance_a: Instance) -> None:
    text = instance_a.logs_of(instance_a.call("many_lines", path="/?lines=128&width=7168"))

    assert text.startswith("0 x")
    assert text.count("\n") == 128
    assert "\n127 x" in text


@pytest.mark.runtime(54)
def test_flood_of_logs_ends_a_little_beyond_five_mebibytes(instance_a: Instance) -> None:
    answer = instance_a.call("many_lines", path="/?lines=2100&width=7500")

    size = (instance_a.logs_dir / f"{answer.log_id}_logs.log").stat().st_size
    assert answer.status == 200
    assert 5 * 1024 * 1024 < size < 6 * 1024 * 1024


def test_lost_log_files_fail_no_request(fresh: Starter) -> None:
    instance = fresh(environment={"ANNALS_LOGS_DIR": "/nonexistent/logs"})

    assert instance.call("logs").status == 200


def test_concurrent_calls_keep_their_output_apart(instance_a: Instance) -> None:
    names = [f"n{number}" for number in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lambda name: instance_a.call("nap", path="/?name=" + name), names))

    for name, answer in zip(names, answers, strict=True):
        lines = instance_a.logs_of(answer).split("\n")
        steps = [line for step in range(5) for line in (f"{name}-{step}", f"{name}-logged-{step}")]
        assert [line for line in lines if line and line != NOTICE] == [*steps, f"{name}-thread"]


class TestChannel:
    """Logs through the executor's socket instead of files."""

    def test_frames_come_before_the_reply_and_the_end_comes_last(self, fresh: Starter, reader: LogReader) -> None:
        instance = fresh(logs="unix:" + reader.path)

        answer = instance.call("logs", headers={"x-open-runtimes-log-id": "abc"})

        assert answer.log_id == "abc"
        assert reader.wait_until(lambda: reader.ended("abc"))
        assert reader.text(LOGS, "abc").startswith("Text joined\n42\n")
        assert reader.text(ERRORS, "abc") == "Only an error\n"
        assert reader.frames[-1] == (END, "abc", "")
        assert list(instance.logs_dir.iterdir()) == []

    def test_call_without_output_sends_only_its_end(self, fresh: Starter, reader: LogReader) -> None:
        fresh(logs="unix:" + reader.path).call("text", headers={"x-open-runtimes-log-id": "abc"})

        assert reader.wait_until(lambda: bool(reader.frames))
        assert reader.frames == [(END, "abc", "")]

    def test_running_call_is_seen_live(self, fresh: Starter, reader: LogReader, tmp_path: Path) -> None:
        instance, go = fresh(logs="unix:" + reader.path), tmp_path / "go"
        with ThreadPoolExecutor(1) as pool:
            headers = {"x-open-runtimes-log-id": "abc"}
            running = pool.submit(instance.call, "slow_log", path=f"/?until={go}", headers=headers)
            try:
                assert reader.wait_until(lambda: "tick 99\n" in reader.text(LOGS, "abc"))
            finally:
                go.touch()
            assert running.result().status == 200
        assert reader.wait_until(lambda: reader.ended("abc"))
        assert reader.text(LOGS, "abc").endswith("tick 99\nlast\n")

    def test_blocking_call_is_seen_live(self, fresh: Starter, reader: LogReader, tmp_path: Path) -> None:
        instance, go = fresh(logs="unix:" + reader.path), tmp_path / "go"
        with ThreadPoolExecutor(1) as pool:
            headers = {"x-open-runtimes-log-id": "abc"}
            running = pool.submit(instance.call, "block", path=f"/?seconds=600&until={go}", headers=headers)
            try:
                assert reader.wait_until(lambda: reader.text(LOGS, "abc") == "blocking\n")
            finally:
                go.touch()
            assert running.result().body == b"unblocked"

    def test_last_output_of_a_dying_process_is_stored(self, fresh: Starter, reader: LogReader) -> None:
        instance = fresh(logs="unix:" + reader.path)

        with pytest.raises(OSError, match=r"."):
            instance.call("die", headers={"x-open-runtimes-log-id": "abc"})

        assert reader.wait_until(lambda: reader.text(LOGS, "abc") == "last words\n")

    def test_lost_channel_fails_no_request(self, fresh: Starter, reader: LogReader) -> None:
        instance = fresh(logs="unix:" + reader.path)
        assert instance.call("logs").status == 200

        reader.close()

        assert [instance.call("logs").status for _ in range(3)] == [200, 200, 200]

    def test_missing_channel_fails_no_request(self, fresh: Starter) -> None:
        assert fresh(logs="unix:/nonexistent/logs.sock").call("logs").status == 200
