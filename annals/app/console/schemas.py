"""The wire models of the console."""

import msgspec


class VariablesModel(msgspec.Struct):
    """The parts of the instance's configuration that its clients need, under the names of the reference's environment.

    Sizes are in bytes and times in seconds. An empty text stands for a feature that this instance lacks.
    """

    functions: str = msgspec.field(name="_APP_DOMAIN_FUNCTIONS")
    size_limit: int = msgspec.field(name="_APP_COMPUTE_SIZE_LIMIT")
    storage_limit: int = msgspec.field(name="_APP_STORAGE_LIMIT")
    build_timeout: int = msgspec.field(name="_APP_COMPUTE_BUILD_TIMEOUT")
    cname: str = msgspec.field(name="_APP_DOMAIN_TARGET_CNAME")
    a: str = msgspec.field(name="_APP_DOMAIN_TARGET_A", default="")
    aaaa: str = msgspec.field(name="_APP_DOMAIN_TARGET_AAAA", default="")
    caa: str = msgspec.field(name="_APP_DOMAIN_TARGET_CAA", default="")
    sites: str = msgspec.field(name="_APP_DOMAIN_SITES", default="")
    nameservers: str = msgspec.field(name="_APP_DOMAINS_NAMESERVERS", default="")
    force_https: str = msgspec.field(name="_APP_OPTIONS_FORCE_HTTPS", default="disabled")
    usage: str = msgspec.field(name="_APP_USAGE_STATS", default="enabled")
    domains: bool = msgspec.field(name="_APP_DOMAIN_ENABLED", default=True)
    vcs: bool = msgspec.field(name="_APP_VCS_ENABLED", default=True)
    assistant: bool = msgspec.field(name="_APP_ASSISTANT_ENABLED", default=False)


class RegionModel(msgspec.Struct, kw_only=True):
    """The region in which an instance runs."""

    id: str = msgspec.field(name="$id")
    name: str
    available: bool = True
    default: bool = True


class RegionsModel(msgspec.Struct):
    total: int
    regions: list[RegionModel]


class JwtModel(msgspec.Struct):
    """A key with which code may call the API, under the name of older API versions."""

    jwt: str


class EphemeralKeyModel(msgspec.Struct, rename="camel", kw_only=True):
    """A key that is not stored: it is valid until `expire` and cannot be revoked before."""

    id: str = msgspec.field(name="$id")
    created_at: str = msgspec.field(name="$createdAt")
    updated_at: str = msgspec.field(name="$updatedAt")
    name: str = ""
    description: str = ""
    expire: str
    scopes: list[str]
    secret: str
    accessed_at: str = ""
    sdks: list[str] = []
