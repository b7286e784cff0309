"""HealthModel, limits and metrics: public, and without a project."""

import time

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Declared
from annals.app.executions.parameters import BODY_LIMIT
from annals.app.health import queries, schemas
from annals.domain.version import API_VERSION


class HealthController(operation.ResourceController):
    path = "/"
    opt = Declared(needs_project=False)

    @operation.get("/v1/health")
    async def health(self, call: Call) -> Answer:
        started = time.perf_counter()
        await call.services.database.value("SELECT 1")
        ping = round((time.perf_counter() - started) * 1000)
        return json_answer(schemas.HealthModel("http", ping, "pass"))

    @operation.get("/v1/health/version")
    async def version(self, _: Call) -> Answer:
        return json_answer(schemas.VersionModel(API_VERSION))

    @operation.get("/v1/health/ready")
    async def ready(self, call: Call) -> Answer:
        state = await queries.readiness(call)
        return json_answer(state, status=200 if state.ready else 503)

    @operation.get("/v1/limits")
    async def limits(self, call: Call) -> Answer:
        settings = call.services.settings
        return json_answer(
            schemas.LimitsModel(
                functions_create_quota=settings.functions_create_quota,
                execution_retention_days=settings.execution_retention_days,
                upload_limit_bytes=settings.upload_limit_bytes,
                build_timeout_seconds=settings.build_timeout_s,
                build_output_limit_bytes=settings.build_output_limit_bytes,
                function_timeout_max_seconds=settings.function_timeout_max_s,
                sync_wait_seconds=settings.sync_wait_s,
                execution_body_limit_characters=BODY_LIMIT,
                enforcement=await queries.enforcement(call),
            )
        )

    @operation.get("/metrics")
    async def metrics(self, call: Call) -> Answer:
        text = (call.services.metrics.text() + await call.services.conservation()).encode()
        return Answer(200, text, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])
