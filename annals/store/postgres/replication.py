"""What Postgres says of a commit whose wait for a synchronous standby was ended: maybe the primary alone has it."""

import psycopg
from psycopg.errors import Diagnostic

_WAIT = "SyncRepWait"
_FILE = "syncrep.c"
_ADMIN_SHUTDOWN = "57P01"
_WARNING = "01000"


class ReplicationUnknown(psycopg.OperationalError):
    """The transaction is committed on the primary, and no standby is known to have it: a failover may forget it."""

    def __init__(self) -> None:
        super().__init__("the wait for the synchronous standby was canceled: it is not known whether the commit holds")


def is_canceled_wait(notice: Diagnostic) -> bool:
    """Whether a notice says that a commit did not wait for its standby.

    Messages come in the server's language, so that the place in Postgres's source counts, which is in none. A server
    that does not tell it is judged by the SQLSTATE alone, and rather once too often.
    """
    if notice.severity_nonlocalized != "WARNING":
        return False
    function, file = notice.source_function, notice.source_file
    if function or file:
        return (function or "").startswith(_WAIT) or (file or "").endswith(_FILE)
    return notice.sqlstate in {_WARNING, _ADMIN_SHUTDOWN}
