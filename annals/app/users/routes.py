"""The operations on users, for keys and admins. Secrets of sessions are only in the answer that creates them."""

import secrets
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec

from annals.app.edge import operation
from annals.app.edge.answers import Answer, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Creation
from annals.app.identity import presented
from annals.app.identity.passwords import LEAST, MOST
from annals.app.identity.scopes import USERS_READ, USERS_WRITE
from annals.app.identity.secret_keys import digest
from annals.app.parameters import (
    UNIQUE,
    ArrayList,
    Boolean,
    CustomId,
    Email,
    Emptiable,
    IntegerRange,
    Label,
    Nullable,
    Parameters,
    Password,
    Phone,
    Text,
    Uid,
    optional,
    required,
)
from annals.app.queries.page import list_parameters
from annals.app.users import queries
from annals.app.wire import encode
from annals.domain.commands import projects
from annals.domain.errors import SessionNotFound
from annals.domain.project import CONSOLE
from annals.domain.team import Team
from annals.domain.user import Provider, Session, User
from annals.projections.identity_models import present_session, present_user
from annals.store.ids import generate_id
from annals.store.secrets.tokens import user_token

DURATION = timedelta(days=365)
MOST_SECONDS_OF_TOKEN = 3600
SECONDS_OF_TOKEN = 900


LIST = list_parameters(queries.LIST, has_search=True)
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


TOKEN_SECONDS = optional(IntegerRange(1, MOST_SECONDS_OF_TOKEN), SECONDS_OF_TOKEN)


class UserController(operation.ResourceController):
    path = "/v1/users"

    @operation.get(scopes=USERS_READ, parameters=LIST)
    async def list_users(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(
            await queries.read_users(call, values["queries"], values["search"], counted=values["total"])
        )  # fmt: skip

    @operation.get("/{userId:str}", scopes=USERS_READ, parameters=ONE)
    async def get(self, call: Call) -> Answer:
        row = await queries.find_user(call, call.values["userId"])
        return raw_json_answer(encode(present_user(row, with_hash=True)))

    @operation.post(scopes=USERS_WRITE, parameters=CREATE, creates=Creation(get, "userId"))
    async def create(self, call: Call) -> Answer:
        user_id = call.new_id() if call.values["userId"] == UNIQUE else call.values["userId"]
        return raw_json_answer(await create_user(call, user_id, with_hash=True), status=201)

    @operation.delete("/{userId:str}", scopes=USERS_WRITE, parameters=ONE)
    async def delete(self, call: Call) -> Answer:
        user_id = call.values["userId"]
        where = {"project": call.project_id, "user": user_id}
        rows = await call.services.database.rows(queries.QUERIES["teams_of_user"], where)
        teams = [Team.absent(call.project_id, row["team_id"]) for row in rows]
        key = User.key(call.project_id, user_id)
        recorded = await call.services.log.run(projects.delete_user, key, *teams, meta=await call.meta())
        call.seen(recorded.position)
        return no_content()

    @operation.patch("/{userId:str}/name", scopes=USERS_WRITE, parameters=ONE.but(name=required(Text(128, 0))))
    async def change_name(self, call: Call) -> Answer:
        return await _change(call, User.change_name, name=call.values["name"])

    @operation.patch("/{userId:str}/email", scopes=USERS_WRITE, parameters=ONE.but(email=required(Emptiable(Email()))))
    async def change_email(self, call: Call) -> Answer:
        return await _change(call, User.change_email, email=call.values["email"])

    @operation.patch("/{userId:str}/phone", scopes=USERS_WRITE, parameters=ONE.but(number=required(Emptiable(Phone()))))
    async def change_phone(self, call: Call) -> Answer:
        return await _change(call, User.change_phone, phone=call.values["number"])

    @operation.patch(
        "/{userId:str}/password", scopes=USERS_WRITE, parameters=ONE.but(password=required(Password(LEAST, MOST)))
    )
    async def change_password(self, call: Call) -> Answer:
        user_id = call.values["userId"]
        key = User.key(call.project_id, user_id)
        await call.services.log.load(key)  # no hash is computed for a missing user
        sealed = await call.services.passwords.seal(call.project_id, user_id, call.values["password"])
        recorded = await call.services.log.run(User.set_password, key, meta=await call.meta(), sealed_password=sealed)
        return raw_json_answer(await queries.present_recorded(call, user_id, recorded))

    @operation.patch("/{userId:str}/status", scopes=USERS_WRITE, parameters=ONE.but(status=required(Boolean())))
    async def change_status(self, call: Call) -> Answer:
        return await _change(call, User.change_status, enabled=call.values["status"])

    @operation.patch(
        "/{userId:str}/verification", scopes=USERS_WRITE, parameters=ONE.but(emailVerification=required(Boolean()))
    )
    async def change_email_verification(self, call: Call) -> Answer:
        verified = call.values["emailVerification"]
        return await _change(call, User.change_verification, channel="email", verified=verified)

    @operation.patch(
        "/{userId:str}/verification/phone",
        scopes=USERS_WRITE,
        parameters=ONE.but(phoneVerification=required(Boolean())),
    )
    async def change_phone_verification(self, call: Call) -> Answer:
        verified = call.values["phoneVerification"]
        return await _change(call, User.change_verification, channel="phone", verified=verified)

    @operation.put(
        "/{userId:str}/labels", scopes=USERS_WRITE, parameters=ONE.but(labels=required(ArrayList(Label(), 1000)))
    )
    async def change_labels(self, call: Call) -> Answer:
        return await _change(call, User.change_labels, labels=call.values["labels"])

    @operation.get(
        "/{userId:str}/sessions", scopes=USERS_READ, parameters=ONE.but(total=optional(Boolean(loose=True), True))
    )
    async def list_sessions(self, call: Call) -> Answer:
        values = call.values
        return raw_json_answer(await queries.read_sessions(call, values["userId"], counted=values["total"]))

    @operation.post("/{userId:str}/sessions", scopes=USERS_WRITE, parameters=ONE)
    async def create_session(self, call: Call) -> Answer:
        user_id = call.values["userId"]
        user = await queries.find_user(call, user_id)
        opened = await open_for(call, user_id, "server")
        return json_answer(present_session(opened.row, email=user["email"], secret=opened.presented), status=201)

    @operation.delete("/{userId:str}/sessions", scopes=USERS_WRITE, parameters=ONE)
    async def delete_sessions(self, call: Call) -> Answer:
        key = User.key(call.project_id, call.values["userId"])
        recorded = await call.services.log.run(User.close_sessions, key, meta=await call.meta())
        call.seen(recorded.position)
        return no_content()

    @operation.delete("/{userId:str}/sessions/{sessionId:str}", scopes=USERS_WRITE, parameters=SESSION)
    async def delete_session(self, call: Call) -> Answer:
        key = User.key(call.project_id, call.values["userId"])
        recorded = await call.services.log.run(
            User.close_session, key, meta=await call.meta(), session_id=call.values["sessionId"]
        )
        call.seen(recorded.position)
        return no_content()

    @operation.post(
        "/{userId:str}/jwts",
        scopes=USERS_WRITE,
        parameters=ONE.but(sessionId=optional(Text(36, 0), ""), duration=TOKEN_SECONDS),
    )
    async def create_token(self, call: Call) -> Answer:
        """Make a user's token for a named session, for the `recent` one, or for no session."""
        values = call.values
        user, rows = await queries.find_sessions(call, values["userId"])
        ids = [row["session_id"] for row in rows]
        wanted = values["sessionId"]
        if wanted and wanted not in {"recent", *ids}:
            raise SessionNotFound
        session_id = (ids[-1] if ids else "") if wanted == "recent" else wanted
        owner = TokenOwner(user["user_id"], user["sequence"], session_id)
        return json_answer(Token(await token_for(call, owner, values["duration"])), status=201)


async def create_user(call: Call, user_id: str, *, with_hash: bool) -> bytes:
    """Create a user of the call's realm from its values, and return it as JSON. Raises UserAlreadyExists."""
    values, password = call.values, call.values["password"]
    sealed = await call.services.passwords.seal(call.realm, user_id, password) if password else ""
    recorded = await call.services.log.run(
        User.create,
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


async def _change(call: Call, command: Any, **given: Any) -> Answer:
    user_id = call.values["userId"]
    key = User.key(call.project_id, user_id)
    recorded = await call.services.log.run(command, key, meta=await call.meta(), **given)
    return raw_json_answer(await queries.present_recorded(call, user_id, recorded))


class Opened(NamedTuple):
    """A new session's row, and the text that its owner sends with requests."""

    row: dict[str, Any]
    presented: str


async def open_for(call: Call, user_id: str, provider: Provider) -> Opened:
    """Open a session for a user. Raises UserNotFound."""
    secret = secrets.token_hex(32)
    session = Session(
        session_id=generate_id(),
        digest=digest(secret),
        provider=provider,
        expires_at=call.services.now() + DURATION,
        ip=call.address,
    )
    key = User.key(call.realm, user_id)
    meta = await call.meta()
    if provider == "email":  # the password identified the user
        meta = msgspec.structs.replace(meta, actor=f"{'admin' if call.realm == CONSOLE else 'user'}:{user_id}")
    recorded = await call.services.log.run(User.open_session, key, meta=meta, session=session)
    call.seen(recorded.position)
    return Opened(recorded.rows["sessions"][0], presented.as_text(user_id, secret))


class TokenOwner(NamedTuple):
    """A user, the position of its creation, and the session that a token depends on, or an empty text."""

    user_id: str
    incarnation: int
    session_id: str


async def token_for(call: Call, owner: TokenOwner, seconds: int) -> str:
    """Return a user's token that is valid for some seconds, or until its session ends if that is sooner."""
    secret, expires = await call.services.token_secret(call.realm), call.services.now().timestamp() + seconds
    return user_token(owner.user_id, owner.session_id, incarnation=owner.incarnation, expires=expires, secret=secret)
