"""The operations on users, for keys and admins."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from annals.app.edge.answers import Answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.idempotency import idempotent
from annals.app.edge.routing import Operation
from annals.app.identity.passwords import LEAST, MOST
from annals.app.identity.scopes import USERS_READ, USERS_WRITE
from annals.app.parameters import (
    UNIQUE,
    ArrayList,
    Boolean,
    CustomId,
    Email,
    Emptiable,
    IntegerRange,
    Label,
    ListQueries,
    Nullable,
    Parameters,
    Password,
    Phone,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.queries.page import Page
from annals.app.users import queries
from annals.app.users.sessions import MOST_SECONDS_OF_TOKEN, SECONDS_OF_TOKEN, TokenOwner, open_for, token_for
from annals.app.wire import encode
from annals.domain.commands import users
from annals.domain.errors import SessionNotFound
from annals.domain.team import Team
from annals.domain.user import User
from annals.projections.identity_models import present_session, present_user

LIST = Parameters(
    queries=optional(ListQueries(queries.LIST), Page()),
    search=optional(Text(256)),
    total=optional(Boolean(loose=True), True),
)
CREATE = Parameters(
    userId=required(CustomId()),
    email=optional(Nullable(Email()), ""),
    phone=optional(Nullable(Phone()), ""),
    password=optional(Nullable(Password(LEAST, MOST)), ""),
    name=optional(Text(128, 0), ""),
)
ONE = Parameters(userId=required(Uid()))
SESSION = ONE.but(sessionId=required(Uid()))


class Token(msgspec.Struct):
    jwt: str


async def list_users(call: Call) -> Answer:
    values = call.values
    return raw_json_answer(
        await queries.read_users(call, values["queries"], values["search"], counted=values["total"])
    )  # fmt: skip


async def create(call: Call) -> Answer:
    user_id = call.new_id() if call.values["userId"] == UNIQUE else call.values["userId"]
    return raw_json_answer(await create_user(call, user_id, with_hash=True), status=201)


async def create_user(call: Call, user_id: str, *, with_hash: bool) -> bytes:
    """A new user of the call's realm, from its values, as their JSON. Raises UserAlreadyExists."""
    values, password = call.values, call.values["password"]
    sealed = await call.services.passwords.seal(call.realm, user_id, password) if password else ""
    recorded = await call.services.log.run(
        users.create_user,
        User.absent(call.realm, user_id),
        meta=await call.meta(),
        project_id=call.realm,
        user_id=user_id,
        name=values["name"],
        email=values["email"],
        phone=values.get("phone", ""),
        sealed_password=sealed,
    )
    return await queries.present_recorded(call, user_id, recorded, with_hash=with_hash)


async def get(call: Call) -> Answer:
    row = await queries.find_user(call, call.values["userId"])
    return raw_json_answer(encode(present_user(row, with_hash=True)))


def _changes(command: Any, **names: str) -> Callable[[Call], Awaitable[Answer]]:
    """The handler of a change: the command's arguments by name, each from a parameter; `=x` is the word x itself."""

    async def change(call: Call) -> Answer:
        user_id = call.values["userId"]
        given: dict[str, Any] = {
            name: source[1:] if source.startswith("=") else call.values[source] for name, source in names.items()
        }  # fmt: skip
        key = User.key(call.project_id, user_id)
        recorded = await call.services.log.run(command, key, meta=await call.meta(), **given)
        return raw_json_answer(await queries.present_recorded(call, user_id, recorded))

    return change


async def change_password(call: Call) -> Answer:
    user_id = call.values["userId"]
    key = User.key(call.project_id, user_id)
    await call.services.log.load(key)  # nobody hashes for a user that is not there
    sealed = await call.services.passwords.seal(call.project_id, user_id, call.values["password"])
    recorded = await call.services.log.run(users.set_password, key, meta=await call.meta(), sealed_password=sealed)
    return raw_json_answer(await queries.present_recorded(call, user_id, recorded))


async def delete(call: Call) -> Answer:
    user_id = call.values["userId"]
    where = {"project": call.project_id, "user": user_id}
    rows = await call.services.database.rows(queries.QUERIES["teams_of_user"], where)
    teams = [Team.absent(call.project_id, row["team_id"]) for row in rows]
    key = User.key(call.project_id, user_id)
    recorded = await call.services.log.run(users.delete_user, key, *teams, meta=await call.meta())
    call.seen(recorded.position)
    return no_content()


async def list_sessions(call: Call) -> Answer:
    values = call.values
    return raw_json_answer(await queries.read_sessions(call, values["userId"], counted=values["total"]))


async def create_session(call: Call) -> Answer:
    user_id = call.values["userId"]
    user = await queries.find_user(call, user_id)
    opened = await open_for(call, user_id, "server")
    return json_answer(present_session(opened.row, email=user["email"], secret=opened.presented), status=201)


async def delete_sessions(call: Call) -> Answer:
    key = User.key(call.project_id, call.values["userId"])
    recorded = await call.services.log.run(users.close_sessions, key, meta=await call.meta())
    call.seen(recorded.position)
    return no_content()


async def delete_session(call: Call) -> Answer:
    key = User.key(call.project_id, call.values["userId"])
    recorded = await call.services.log.run(
        users.close_session, key, meta=await call.meta(), session_id=call.values["sessionId"]
    )
    call.seen(recorded.position)
    return no_content()


async def create_token(call: Call) -> Answer:
    """For a named session, the newest one, or none at all where the user has none."""
    values = call.values
    user, rows = await queries.find_sessions(call, values["userId"])
    ids = [row["session_id"] for row in rows]
    wanted = values["sessionId"]
    if wanted and wanted not in {"recent", *ids}:
        raise SessionNotFound
    session_id = (ids[-1] if ids else "") if wanted == "recent" else wanted
    owner = TokenOwner(user["user_id"], user["sequence"], session_id)
    return json_answer(Token(await token_for(call, owner, values["duration"])), status=201)


_ALL = "/v1/users"
_ONE = f"{_ALL}/{{userId}}"
_SESSIONS = f"{_ONE}/sessions"
TOKEN_SECONDS = optional(IntegerRange(1, MOST_SECONDS_OF_TOKEN), SECONDS_OF_TOKEN)


def _change(
    what: str, handler: Callable[[Call], Awaitable[Answer]], method: str = "PATCH", **parameters: Any
) -> Operation:
    return Operation(method, f"{_ONE}/{what}", handler, USERS_WRITE, ONE.but(**parameters))


ROUTES = (
    Operation("GET", _ALL, list_users, USERS_READ, LIST),
    Operation("POST", _ALL, idempotent(create, get, "userId"), USERS_WRITE, CREATE),
    Operation("GET", _ONE, get, USERS_READ, ONE),
    Operation("DELETE", _ONE, delete, USERS_WRITE, ONE),
    _change("name", _changes(users.change_name, name="name"), name=required(Text(128, 0))),
    _change("email", _changes(users.change_email, email="email"), email=required(Emptiable(Email()))),
    _change("phone", _changes(users.change_phone, phone="number"), number=required(Emptiable(Phone()))),
    _change("password", change_password, password=required(Password(LEAST, MOST))),
    _change("status", _changes(users.change_status, enabled="status"), status=required(Boolean())),
    _change(
        "verification",
        _changes(users.change_verification, what="=email", verified="emailVerification"),
        emailVerification=required(Boolean()),
    ),
    _change(
        "verification/phone",
        _changes(users.change_verification, what="=phone", verified="phoneVerification"),
        phoneVerification=required(Boolean()),
    ),
    _change("labels", _changes(users.change_labels, labels="labels"), "PUT", labels=required(ArrayList(Label(), 1000))),
    Operation("GET", _SESSIONS, list_sessions, USERS_READ, ONE.but(total=optional(Boolean(loose=True), True))),
    Operation("POST", _SESSIONS, create_session, USERS_WRITE, ONE),
    Operation("DELETE", _SESSIONS, delete_sessions, USERS_WRITE, ONE),
    Operation("DELETE", f"{_SESSIONS}/{{sessionId}}", delete_session, USERS_WRITE, SESSION),
    Operation(
        "POST",
        f"{_ONE}/jwts",
        create_token,
        USERS_WRITE,
        ONE.but(sessionId=optional(Text(36, 0), ""), duration=TOKEN_SECONDS),
    ),
)
