"""An instance as the command line sees it: settings, a log and a vault, and the comparison of two instances."""

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from annals.application.event_log import inline
from annals.cli.export import Exported, write
from annals.cli.load import Loaded, load
from annals.domain.commands import deployments
from annals.domain.deployment import Deployment
from annals.domain.execution import Execution, RunRecord
from annals.domain.function import Function
from annals.domain.ports import Artefact
from annals.domain.variables import Variable
from annals.projections.following import FOLLOWING
from annals.projections.inline import CONSTRAINT_ERRORS, TABLES
from annals.settings import Settings
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Content, Contents, digest
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.portable.export import ExportSelection
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.store.proof.notes import Verifier, signing_key
from annals.store.secrets.vault import Vault, master_key
from tests.integration.projections.history import META, F, History, P

MASTER = base64.b64encode(b"a master key for tests: 32 bytes")
LOG = b"one line\n" * 5000
SECRET = "a secret value"


class Instance:
    def __init__(self, log: EventLog, settings: Settings) -> None:
        self.log, self.database, self.settings = log, log.database, settings
        self.vault = Vault(log.database, master_key(settings.master_key))
        self.history = History(log, log.database)

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, folder: Path) -> AsyncIterator[Self]:
        folder.mkdir()
        settings = Settings(data=folder, database_url=url)
        settings.master_key.write_bytes(MASTER)
        signing_key(settings.seal_key)
        database = await Database.open(url)
        contents = Contents(database, Blobs.open(settings.blobs))
        log = await EventLog.open(database, contents=contents, inline=inline, constraint_errors=CONSTRAINT_ERRORS)
        try:
            yield cls(log, settings)
        finally:
            await log.close()
            await database.close()

    async def fill(self) -> None:
        """Two projects; in the first a function with a secret, a deployment with archives, executions with logs."""
        history = self.history
        await history.project()
        await history.function()
        sealed = await self.vault.seal(P, Function.stream(P, F), "v1", SECRET)
        variable = Variable(variable_id="v1", key="TOKEN", sealed=sealed, secret=True)
        await self.log.run(Function.add_variable, Function.key(P, F), meta=META, variable=variable)
        await self.deploy("d1")
        for number in range(3):
            await history.request(f"e{number}")
            await history.claim(f"e{number}")
        await self.complete("e0", LOG)
        await self.complete("e1", b"short")
        await history.project("q")
        await history.complete("e2")

    async def deploy(self, deployment: str) -> None:
        """Record a ready deployment and store its archives."""
        key = Deployment.key(P, deployment)
        source, artefact = [await self._archive(f"{kind}/{P}/{deployment}/a") for kind in ("sources", "artefacts")]
        await self.log.run(
            deployments.create_deployment,
            Deployment.absent(P, deployment),
            meta=META,
            source=source,
            project_id=P,
            function_id=F,
            function_incarnation=self.history.incarnations[F],
            deployment_id=deployment,
            type="manual",
            entrypoint="index.js",
            commands="",
            activate=True,
            size=source.size,
        )
        await self.history.claim_build(deployment)
        await self.log.run(
            deployments.complete_build,
            Function.key(P, F),
            key,
            meta=META,
            contents=[Content(key.stream, "build", LOG)],
            epoch=1,
            artefact=artefact,
            activate=True,
            milliseconds=10,
            specification="s-1vcpu-1gb",
            logs_digest=digest(LOG),
            logs_size=len(LOG),
        )

    async def _archive(self, key: str) -> Artefact:
        data = f"archive {key} ".encode() * 100_000
        blob = await self.log.contents.blobs.put(key, data)
        return Artefact(key=key, digest=blob.digest, size=blob.size)

    async def complete(self, execution_id: str, text: bytes) -> None:
        """End an execution with output."""
        execution = await self.log.load(Execution.key(P, execution_id))
        ran = RunRecord(
            deployment_id="d1", function_version=2, environment_digest="e", specification="s-1vcpu-512mb", run_ms=7
        )
        execution.complete(
            execution.epoch, status_code=200, headers=[], ran=ran, logs_digest=digest(text), logs_size=len(text)
        )
        await self.log.record([execution], meta=META, contents=[Content(execution.id, "logs", text)])

    async def export(self, path: Path, wanted: ExportSelection) -> Exported:
        return await write(self.log, self.settings, wanted, path)

    async def load(self, path: Path, *, key: Verifier | None = None, hold: str = "", backup: bool = False) -> Loaded:
        return await load(
            self.log, self.settings, path, verifier=key, hold=hold, backup=backup, report=lambda _: None
        )  # fmt: skip

    async def follow(self) -> None:
        for name, following in FOLLOWING.items():
            follower = Follower(name, following.handle, self.log.reader, Listener(self.database))
            while await follower.catch_up():
                continue

    async def rows(self, table: str) -> Sequence[str]:
        found = await self.database.rows(f"SELECT t::text AS row FROM {table} t ORDER BY 1")  # noqa: S608 - ours
        return [row["row"] for row in found]

    async def everything(self) -> dict[str, Any]:
        """Return every table that must be equal after a restore, and the bytes outside of tables."""
        tables = [*TABLES, *(table for following in FOLLOWING.values() for table in following.tables)]
        state: dict[str, Any] = {name: await self.rows(name) for name in ("events", "data_keys", *tables)}
        contents = await self.database.rows("SELECT stream, version, kind FROM contents ORDER BY 1, 2, 3")
        state["contents"] = [
            (row["stream"], row["version"], await self.log.contents.read(row["stream"], row["kind"]))
            for row in contents
        ]
        blobs = self.log.contents.blobs
        archives = [info.key for name in ("sources", "artefacts") async for info in blobs.list(name)]
        state["archives"] = {key: await blobs.get(key) for key in archives}
        return state
