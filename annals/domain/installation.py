"""A project's way to repositories: a host, and the (sealed) credentials by which it is asked."""

from typing import Literal

import msgspec

Provider = Literal["git", "github"]


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """`git` is any host by `url`, below which its repositories lie (empty: those that the operator names); `github` is
    an app's installation, and `url` its API. `sealed` holds the credentials."""

    installation_id: str
    provider: Provider
    organization: str
    url: str
    app_id: str = ""
    provider_installation_id: str = ""
    sealed: str
