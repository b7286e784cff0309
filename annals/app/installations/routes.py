"""The operations on installations, which the reference lacks, in the same dialect as the others."""

import secrets
from typing import Any

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.code_scopes import require_of_installation
from annals.app.edge.declared import Creation
from annals.app.identity.scopes import VCS_READ, VCS_WRITE
from annals.app.installations import queries
from annals.app.parameters import UNIQUE, CustomId, OneOf, Parameters, Text, Uid, optional, required
from annals.app.queries.page import list_parameters
from annals.domain.errors import ArgumentInvalid
from annals.domain.project import Installation, Project
from annals.vcs.errors import RepositoryError
from annals.vcs.locating import Credentials
from annals.vcs.urls import parse_url

ONE = Parameters(installationId=required(Uid()))
LIST = list_parameters(queries.LIST)
CREATE = Parameters(
    installationId=required(CustomId()),
    provider=required(OneOf(("git", "github"))),
    organization=optional(Text(128, 0), ""),
    url=optional(Text(1024, 0), ""),
    username=optional(Text(256, 0), ""),
    password=optional(Text(4096, 0), ""),
    privateKey=optional(Text(16384, 0), ""),
    knownHosts=optional(Text(16384, 0), ""),
    appId=optional(Text(64, 0), ""),
    providerInstallationId=optional(Text(64, 0), ""),
    webhookSecret=optional(Text(256, 16)),
)


GITHUB_API = "https://api.github.com"


class InstallationController(operation.ResourceController):
    path = "/v1/vcs/installations"

    @operation.get(scopes=VCS_READ, parameters=LIST)
    async def list_installations(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(await queries.read_installations(call, values["queries"], counted=values["total"]))

    @operation.get("/{installationId:str}", scopes=VCS_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        return json_answer(queries.present(await queries.require_installation(call, call.values["installationId"])))

    @operation.post(
        scopes=VCS_WRITE,
        parameters=CREATE,
        code_scopes=require_of_installation,
        creates=Creation(get, "installationId"),
    )
    async def create(self, call: Call) -> Answer:
        values = call.values
        url = _judge(values, call.services.settings.git_allowed_hosts)
        installation_id = call.new_id() if values["installationId"] == UNIQUE else values["installationId"]
        credentials = Credentials(
            username=values["username"],
            password=values["password"],
            private_key=values["privateKey"],
            known_hosts=values["knownHosts"],
            webhook_secret=values["webhookSecret"] or secrets.token_hex(24),
        )
        sealed = await call.services.vault.seal(
            call.project_id,
            Project.stream(call.project_id),
            installation_id,
            msgspec.json.encode(credentials).decode(),
        )
        recorded = await call.services.log.run(
            Project.add_installation,
            Project.key(call.project_id),
            meta=await call.meta(),
            installation=Installation(
                installation_id=installation_id,
                provider=values["provider"],
                organization=values["organization"],
                url=url,
                app_id=values["appId"],
                provider_installation_id=values["providerInstallationId"],
                sealed=sealed,
            ),
        )
        call.seen(recorded.position)
        (row,) = recorded.rows["installations"]
        shown_secret = msgspec.UNSET if values["webhookSecret"] else credentials.webhook_secret
        return json_answer(queries.present(row, webhook_secret=shown_secret), status=201)

    @operation.delete("/{installationId:str}", scopes=VCS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        """Functions that are connected through it stay so, and can be fetched no longer."""
        recorded = await call.services.log.run(
            Project.remove_installation,
            Project.key(call.project_id),
            meta=await call.meta(),
            installation_id=call.values["installationId"],
        )
        call.seen(recorded.position)
        return no_content()


def _judge(values: dict[str, Any], allowed_hosts: tuple[str, ...]) -> str:
    """Return the host's URL. Raises ArgumentInvalid for a URL that its provider cannot use."""
    github = values["provider"] == "github"
    if github and not (values["appId"] and values["privateKey"] and values["providerInstallationId"]):
        raise ArgumentInvalid("A GitHub App needs appId, privateKey and providerInstallationId.")
    url: str = (values["url"] or (GITHUB_API if github else "")).rstrip("/")
    if not url:
        return ""  # repositories that the operator names
    try:
        address = parse_url(f"{url}/repository", http_hosts=allowed_hosts)
    except RepositoryError as error:
        raise ArgumentInvalid(f"Invalid `url` param: {error.sentence}") from None
    if github and address.scheme == "ssh":
        raise ArgumentInvalid("Invalid `url` param: a GitHub App's API is reached by https.")
    if address.scheme == "ssh" and not values["knownHosts"]:
        raise ArgumentInvalid("An ssh host needs its line of a known_hosts file in knownHosts.")
    return url
