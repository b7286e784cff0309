"""Maps exceptions to answers, for Litestar's exception handlers and for errors before routing."""

from collections.abc import Callable
from typing import Any

import structlog
from litestar import Request
from litestar.exceptions import HTTPException

from annals.app.edge.answers import Answer
from annals.app.edge.call import Call, ClientGone
from annals.app.edge.error_answers import domain_error_answer, error_answer
from annals.app.errors import Damaged, KeyDeleted, RouteNotFound
from annals.domain.errors import BadRequest, DomainError
from annals.store.content.blobs import BlobError
from annals.store.errors import (
    ContentDamaged,
    DataKeyDeleted,
    RequestTooLarge,
    StatementTooSlow,
    StoreUnavailable,
    UnknownTopic,
)

log = structlog.get_logger(__name__)

_CUT_OFF = "The request's body is cut off, or its chunked encoding is invalid."
_NEWER = "A newer version of the server has changed this, and this process is about to be replaced. Try again shortly."


def _refused(call: Call, error: DomainError) -> Answer:
    call.hint(error.hint)
    return domain_error_answer(error)


def _client_gone(_call: Call, _error: ClientGone) -> Answer:
    return domain_error_answer(BadRequest(_CUT_OFF))


def _refused_by_router(call: Call, error: HTTPException) -> Answer:
    """Return the contract's 404 for 404 and 405, and a 400 for a malformed head."""
    if error.status_code in {404, 405}:
        return _refused(call, RouteNotFound())
    return domain_error_answer(BadRequest(f"{error.detail}. Correct the request's head and send it again."))


def _data_key_deleted(_call: Call, _error: DataKeyDeleted) -> Answer:
    return domain_error_answer(KeyDeleted())


def _request_too_large(_call: Call, error: RequestTooLarge) -> Answer:
    return error_answer(str(error), 400, "general_argument_invalid")


def _too_slow(call: Call, error: StatementTooSlow) -> Answer:
    log.warning("query_too_slow", path=call.scope["path"])
    return error_answer(str(error), 408, "database_timeout")


def _unavailable(_call: Call, error: StoreUnavailable) -> Answer:
    log.warning("store_unavailable", error=str(error))
    return error_answer(error.default, 503, "general_service_unavailable", [(b"retry-after", b"1")])


def _of_another_version(_call: Call, error: UnknownTopic) -> Answer:
    """Ask the client to retry: during an upgrade another process may know the event already."""
    log.error("written_by_another_version", error=str(error))
    return error_answer(_NEWER, 503, "general_service_unavailable", [(b"retry-after", b"1")])


def _damaged(_call: Call, error: ContentDamaged) -> Answer:
    log.error("content_damaged", error=str(error))
    return domain_error_answer(Damaged(str(error)))


def _blob_store_failed(_call: Call, error: BlobError) -> Answer:
    log.error("blob_store_failed", error=str(error))
    return error_answer(
        "The blob store failed. Try again shortly.", 503, "general_service_unavailable", [(b"retry-after", b"5")]
    )


def _unexpected(call: Call, error: Exception) -> Answer:
    log.error("unexpected", method=call.method, path=call.scope["path"], exc_info=error)
    return error_answer("Server Error", 500, "general_server_error")


FAILURES: dict[type[Exception], Callable[[Call, Any], Answer]] = {
    DomainError: _refused,
    ClientGone: _client_gone,
    HTTPException: _refused_by_router,
    DataKeyDeleted: _data_key_deleted,
    RequestTooLarge: _request_too_large,
    StatementTooSlow: _too_slow,
    StoreUnavailable: _unavailable,
    UnknownTopic: _of_another_version,
    ContentDamaged: _damaged,
    BlobError: _blob_store_failed,
    Exception: _unexpected,
}


def failed(call: Call, error: Exception) -> Answer:
    """Return the answer for an exception."""
    answer = next(FAILURES[kind] for kind in type(error).__mro__ if kind in FAILURES)(call, error)
    return call.present_error(answer)


def _handled(request: Request[Any, Any, Any], error: Exception) -> Any:
    return failed(request.scope["state"]["call"], error)


EXCEPTION_HANDLERS: Any = dict.fromkeys(FAILURES, _handled)
