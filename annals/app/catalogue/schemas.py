"""The wire models of runtimes, specifications and templates."""

from typing import Any

import msgspec

from annals.domain import catalogue, runtimes


class RuntimeModel(msgspec.Struct, rename="camel", kw_only=True):
    id: str = msgspec.field(name="$id")
    key: str
    name: str
    version: str
    base: str
    image: str
    logo: str
    supports: tuple[str, ...]


class RuntimeListModel(msgspec.Struct):
    total: int
    runtimes: list[RuntimeModel]


class SpecificationModel(msgspec.Struct):
    memory: int
    cpus: float
    enabled: bool
    slug: str


class SpecificationListModel(msgspec.Struct):
    total: int
    specifications: list[SpecificationModel]


class TemplateRuntimeModel(msgspec.Struct, rename="camel"):
    name: str
    commands: str
    entrypoint: str
    provider_root_directory: str


class TemplateVariableModel(msgspec.Struct):
    name: str
    description: str
    value: str
    secret: bool
    placeholder: str
    required: bool
    type: str


class TemplateModel(msgspec.Struct, rename="camel", kw_only=True):
    icon: str
    id: str
    name: str
    tagline: str
    permissions: list[str]
    events: list[str]
    cron: str
    timeout: int
    use_cases: list[str]
    runtimes: list[TemplateRuntimeModel]
    instructions: str
    vcs_provider: str
    provider_repository_id: str
    provider_owner: str
    provider_version: str
    variables: list[TemplateVariableModel]
    scopes: list[str]


class TemplateListModel(msgspec.Struct):
    total: int
    templates: list[TemplateModel]


def runtime(known: runtimes.Runtime) -> RuntimeModel:
    return RuntimeModel(
        id=known.id,
        key=known.key,
        name=known.name,
        version=known.version,
        base=known.base,
        image=known.image,
        logo=known.logo,
        supports=known.supports,
    )


def specification(known: catalogue.Specification) -> SpecificationModel:
    return SpecificationModel(memory=known.memory, cpus=known.cpus, enabled=True, slug=known.slug)


def template(entry: dict[str, Any]) -> TemplateModel:
    """Return the model of an entry of the index."""
    return TemplateModel(
        icon=entry["icon"],
        id=entry["id"],
        name=entry["name"],
        tagline=entry["tagline"],
        permissions=entry["permissions"],
        events=entry["events"],
        cron=entry["cron"],
        timeout=entry["timeout"],
        use_cases=entry["useCases"],
        runtimes=[
            TemplateRuntimeModel(name, directory["commands"], directory["entrypoint"], root)
            for root, directory in entry["runtimesByDirectory"].items()
            for name in directory["runtimes"]
        ],
        instructions=entry["instructions"],
        vcs_provider=entry["vcsProvider"],
        provider_repository_id=entry["providerRepositoryId"],
        provider_owner=entry["providerOwner"],
        provider_version=entry["providerVersion"],
        variables=[_variable(variable) for variable in entry["variables"]],
        scopes=entry["scopes"],
    )


def _variable(entry: dict[str, Any]) -> TemplateVariableModel:
    return TemplateVariableModel(
        name=entry["name"],
        description=entry["description"],
        value=entry.get("value", ""),
        secret=entry["secret"],
        placeholder=entry["placeholder"],
        required=entry["required"],
        type=entry["type"],
    )
