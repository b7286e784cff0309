"""The configuration that an execution ran with, and the changes since then."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import msgspec

from annals.app.edge.call import Call
from annals.app.history.presenting import Presenter
from annals.app.history.schemas import ChangeModel
from annals.app.history.streams import whole
from annals.domain.deployment import Deployment
from annals.domain.errors import ExecutionNotFound
from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.redaction import describe_openable, differences, plain_value
from annals.store.log.reader import RecordedEvent, project_events


class ExecutionConfigurationModel(msgspec.Struct, rename="camel", kw_only=True):
    """The configuration of one execution. Variables are shown by fingerprints, and those of the project separately."""

    execution_id: str
    function_id: str
    function_version: int
    position: int
    deployment_id: str
    specification: str
    environment_digest: str
    configuration: Any
    variables: Sequence[Any]
    project_variables: Sequence[Any]
    deployment: Any
    changes: Sequence[ChangeModel]


async def read_configuration(call: Call) -> ExecutionConfigurationModel:
    """Return the configuration that an execution ran with, also if the execution was deleted since.

    Raises ExecutionNotFound.
    """
    function_id, execution_id = call.values["functionId"], call.values["executionId"]
    own = Execution.stream(call.project_id, execution_id)
    recorded_events = await whole(call.services.log.reader, own, since=await call.incarnation())
    requested, ran = _ends(recorded_events)
    if requested is None or requested.event.function_id != function_id:
        raise ExecutionNotFound
    request: Execution.Requested = requested.event
    version = ran.function_version if ran else request.function_version
    deployment_id = ran.deployment_id if ran else request.deployment_id
    stream = Function.stream(call.project_id, function_id)
    functions = await whole(call.services.log.reader, stream)
    used, since = functions[:version], functions[version:]  # versions have no gaps
    then = _folded(None, used)
    now = _folded(deepcopy(then), since)
    position = requested.position
    deployment = await call.services.log.reader.aggregate_at(
        Deployment.absent(call.project_id, deployment_id), recorded_events[-1].position
    )
    project = await call.services.log.reader.aggregate_at(Project.absent(call.project_id), position)
    call.seen(functions[-1].position)
    return ExecutionConfigurationModel(
        execution_id=execution_id,
        function_id=function_id,
        function_version=version,
        position=used[-1].position,
        deployment_id=deployment_id,
        specification=ran.specification if ran else then.configuration.runtime_specification,
        environment_digest=ran.environment_digest if ran else "",
        configuration=plain_value(then.configuration),
        variables=[plain_value(variable) for variable in then.variables.values()],
        project_variables=[plain_value(v) for v in project.variables.values()] if isinstance(project, Project) else [],
        deployment=_summary(deployment),
        changes=await (await Presenter.of_call(call)).changes(
            stream, differences(describe_openable(then), describe_openable(now))
        ),
    )


def _ends(recorded_events: Sequence[RecordedEvent]) -> tuple[RecordedEvent | None, Any]:
    """Return the request of the last incarnation, and the configuration that its run used, or None if it never ran."""
    begun = [
        index
        for index, recorded_event in enumerate(recorded_events)
        if isinstance(recorded_event.event, Execution.Requested)
    ]
    if not begun:
        return None, None
    used = [
        ran
        for recorded_event in recorded_events[begun[-1] :]
        if (ran := getattr(recorded_event.event, "ran", None)) is not None
    ]
    return recorded_events[begun[-1]], used[-1] if used else None


def _folded(function: Function | None, recorded_events: Sequence[RecordedEvent]) -> Function:
    folded = project_events(function, (recorded_event.event for recorded_event in recorded_events))
    if not isinstance(folded, Function):
        raise ExecutionNotFound
    return folded


def _summary(deployment: Any) -> Any:
    if not isinstance(deployment, Deployment):
        return None
    return {
        "type": deployment.type,
        "entrypoint": deployment.entrypoint,
        "commands": deployment.commands,
        "origin": plain_value(deployment.origin),
        "source": plain_value(deployment.source),
        "artefact": plain_value(deployment.artefact),
    }
