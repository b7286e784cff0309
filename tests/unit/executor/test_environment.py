"""The variables of user code beside its own (runtime.md section 11)."""

import msgspec
import pytest

from annals.domain.ports import Limits
from annals.executor.builds import builder
from annals.executor.pool import instance
from tests.contract.executor_port.conftest import JOB, RUN

HELD_BY_US = {
    "OPEN_RUNTIMES_SECRET": "not theirs",
    "OPEN_RUNTIMES_ENTRYPOINT": "other.py",
    "OPEN_RUNTIMES_HOSTNAME": "elsewhere",
    "OPEN_RUNTIMES_CPUS": "99",
    "OPEN_RUNTIMES_MEMORY": "99",
    "CI": "false",
    "INERNAL_EXECUTOR_HOSTNAME": "elsewhere",
}
LIMITS = Limits(cpus=2.5, memory_mb=1024)


@pytest.mark.runtime(45)
def test_variables_of_the_executor_override_those_of_runs_and_builds() -> None:
    run = msgspec.structs.replace(RUN, environment={**HELD_BY_US, "OWN": "kept"}, limits=LIMITS)
    job = msgspec.structs.replace(JOB, environment={**HELD_BY_US, "OWN": "kept"}, limits=LIMITS)

    for seen in (instance.environment(run, "a" * 32, "host"), builder.environment(job)):
        assert {name: seen[name] for name in HELD_BY_US if seen[name] == HELD_BY_US[name]} == {}
        assert (seen["OPEN_RUNTIMES_CPUS"], seen["OPEN_RUNTIMES_MEMORY"], seen["CI"]) == ("2.5", "1024", "true")
        assert (seen["OPEN_RUNTIMES_ENTRYPOINT"], seen["OWN"]) == ("main.py", "kept")
        assert len(seen["OPEN_RUNTIMES_SECRET"]) == 32


def test_output_directory_is_a_variable_only_if_it_is_configured() -> None:
    said = msgspec.structs.replace(JOB, output_directory="./dist")

    assert builder.environment(said)["OPEN_RUNTIMES_OUTPUT_DIRECTORY"] == "./dist"
    assert "OPEN_RUNTIMES_OUTPUT_DIRECTORY" not in builder.environment(JOB)
