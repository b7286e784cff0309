"""The admin that the first start creates if the settings name one."""

import secrets

import msgspec
import structlog

from annals.app.parameters.identity import Email
from annals.app.parameters.kinds import ValidationError
from annals.cli.users import make_admin
from annals.domain.errors import UserAlreadyExists
from annals.settings import Invalid, Settings
from annals.store.log.log import EventLog
from annals.supervisor.folders import private_file

log = structlog.get_logger()

FILE = "admin.json"


class Admin(msgspec.Struct, frozen=True):
    """The content of `admin.json`, the only copy of the password."""

    email: str
    password: str


async def first_admin(settings: Settings, event_log: EventLog) -> None:
    """Create the admin that the settings name if there is none. Raises Invalid for an invalid address."""
    if not settings.admin_email:
        return
    try:
        email = Email().parse(settings.admin_email)
    except ValidationError:
        raise Invalid(f"ANNALS_ADMIN_EMAIL is {settings.admin_email!r}, which is no email address.") from None
    password = secrets.token_urlsafe(18)
    try:
        await make_admin(event_log, settings, email=email, password=password, name="")
    except UserAlreadyExists:
        return
    path = settings.folder / FILE
    private_file(path, msgspec.json.format(msgspec.json.encode(Admin(email, password)), indent=2) + b"\n")
    log.info("admin_made", email=email, file=str(path))
