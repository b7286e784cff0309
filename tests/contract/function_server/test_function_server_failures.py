"""Checks 36-38: failures of user code, and timeouts."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.function_server.conftest import Starter
from tests.contract.function_server.instance import DEADLINE_SECONDS, EXTENSIONS, Instance, LogReader


@pytest.mark.runtime(37)
def test_sleep_beyond_the_timeout(instance_a: Instance) -> None:
    began = time.monotonic()

    answer = instance_a.call("sleep", path="/?seconds=600", headers={"x-open-runtimes-timeout": "1"})

    assert time.monotonic() - began >= 1.0
    assert (answer.status, answer.body) == (500, b"")
    assert "Execution timed out." in instance_a.errors_of(answer)
    assert instance_a.logs_of(answer) == "start\n"


def test_code_that_ends_after_its_timeout_adds_nothing(instance_a: Instance) -> None:
    answer = instance_a.call("sleep", path="/?seconds=2", headers={"x-open-runtimes-timeout": "1"})

    assert answer.status == 500
    time.sleep(1.5)  # beyond the end of the sleep
    assert instance_a.call("text").status == 200
    assert instance_a.logs_of(answer) == "start\n"


@pytest.mark.runtime(38)
def test_entrypoint_without_an_export(instance_c: Instance) -> None:
    answer = instance_c.call("text")

    assert (answer.status, answer.body) == (503, b"")
    assert "Function signature invalid." in instance_c.errors_of(answer)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "Failed to load entrypoint, file absent{0} does not exist."),
        ("broken_syntax", "Syntax error in broken_syntax{0}, line 2"),
        ("broken_top", "Failed to load module: top level broke"),
    ],
)
def test_entrypoint_that_cannot_be_loaded(fresh: Starter, language: str, name: str, message: str) -> None:
    extension = EXTENSIONS[language]
    instance = fresh(environment={"OPEN_RUNTIMES_ENTRYPOINT": name + extension})

    for _ in range(2):  # the second request gets the same error
        answer = instance.call("text")
        assert (answer.status, answer.body) == (503, b"")
        assert message.format(extension) in instance.errors_of(answer)


def test_missing_module_is_named(fresh: Starter, language: str) -> None:
    instance = fresh(environment={"OPEN_RUNTIMES_ENTRYPOINT": "missing_module" + EXTENSIONS[language]})

    answer = instance.call("text")

    assert answer.status == 503
    expected = {
        "python": "Module not found: no_such_module_anywhere",
        "node": "Failed to load module: Cannot find module 'no-such-module-anywhere'",
    }
    assert expected[language] in instance.errors_of(answer)


def test_failed_load_is_repeated_by_the_next_call(fresh: Starter, code: Path, language: str) -> None:
    entrypoint = "later" + EXTENSIONS[language]
    instance = fresh(code=code, environment={"OPEN_RUNTIMES_ENTRYPOINT": entrypoint})
    assert instance.call("text").status == 503

    (code / entrypoint).write_text((code / ("plain" + EXTENSIONS[language])).read_text())

    assert instance.call("text").body == b"plain"


def test_module_state_survives_between_calls(fresh: Starter) -> None:
    instance = fresh()

    assert [instance.call("count").body for _ in range(3)] == [b"1", b"2", b"3"]


def test_code_that_blocks_answers_health_where_the_language_can(
    fresh: Starter, reader: LogReader, language: str, tmp_path: Path
) -> None:
    instance, go = fresh(logs="unix:" + reader.path), tmp_path / "go"
    seconds = 600 if language == "python" else 1  # node has one thread for everything, as in the reference
    with ThreadPoolExecutor(1) as pool:
        headers = {"x-open-runtimes-log-id": "blocks"}
        running = pool.submit(instance.call, "block", path=f"/?seconds={seconds}&until={go}", headers=headers)
        try:
            assert reader.wait_until(lambda: reader.text(0, "blocks") == "blocking\n")
            assert instance.call("text", path="/__opr/health").status == 200
        finally:
            go.touch()
        assert running.result().body == b"unblocked"


@pytest.mark.parametrize("language", ["python"], indirect=True)
def test_blocking_call_never_hangs_beyond_its_timeout(instance_a: Instance, tmp_path: Path) -> None:
    go = tmp_path / "go"
    try:
        answer = instance_a.call("block", path=f"/?seconds=600&until={go}", headers={"x-open-runtimes-timeout": "1"})
    finally:
        go.touch()

    assert answer.status == 500
    assert "Execution timed out." in instance_a.errors_of(answer)
    assert instance_a.call("text").status == 200


@pytest.mark.parametrize("language", ["node"], indirect=True)
def test_blocking_call_of_node_is_late_and_successful_as_in_the_reference(instance_a: Instance) -> None:
    answer = instance_a.call("block", path="/?seconds=1.2", headers={"x-open-runtimes-timeout": "1"})

    assert answer.body == b"unblocked"
    assert instance_a.call("text").status == 200


@pytest.mark.parametrize("language", ["python"], indirect=True)
def test_response_announces_that_calls_run_one_at_a_time(instance_a: Instance) -> None:
    assert instance_a.call("text").all("x-open-runtimes-concurrency") == ["1"]
    assert instance_a.call("throw").all("x-open-runtimes-concurrency") == ["1"]
    assert instance_a.call("nap", path="/?name=a").all("x-open-runtimes-concurrency") == []


def test_exit_never_hangs(fresh: Starter, language: str) -> None:
    instance = fresh()

    if language == "python":
        answer = instance.call("leave")
        assert answer.status == 500
        assert "SystemExit" in instance.errors_of(answer)
        assert instance.call("text").status == 200
    else:
        with pytest.raises((http.client.HTTPException, OSError)):
            instance.call("leave")
        assert instance.process.wait(DEADLINE_SECONDS) == 3


def test_failure_after_the_reply_ends_a_node_process_only(fresh: Starter, language: str) -> None:
    instance = fresh()
    assert instance.call("late_failure").body == b"ok"

    if language == "node":
        assert instance.process.wait(DEADLINE_SECONDS) == 1
        assert "late failure" in instance.said()
    else:
        instance.wait_for(lambda: "late failure" in instance.said(), "the traceback")
        assert instance.call("text").status == 200


@pytest.mark.parametrize("language", ["node"], indirect=True)
@pytest.mark.parametrize("action", ["early_failure", "early_rejection"])
def test_uncaught_failure_is_logged_in_its_own_execution(fresh: Starter, action: str) -> None:
    instance = fresh()

    answer = instance.call(action)

    assert (answer.status, answer.body) == (500, b"")
    assert action.replace("_", " ") in instance.errors_of(answer)
    assert instance.process.wait(DEADLINE_SECONDS) == 1
