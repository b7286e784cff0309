"""The operations of callers on their own accounts: signing up, in and out. A session's secret is sent in cookies."""

from datetime import datetime

from annals.app.account.sign_in_throttle import SignInAttempt
from annals.app.edge import operation
from annals.app.edge.answers import Answer, Header, json_answer, no_content, raw_json_answer
from annals.app.edge.call import Call
from annals.app.edge.declared import Declared
from annals.app.errors import AccessForbidden, InvalidCredentials, UserBlocked
from annals.app.identity.caller import Caller
from annals.app.identity.passwords import LEAST, MOST
from annals.app.identity.presented import cookie_names
from annals.app.identity.scopes import ACCOUNT, SESSIONS_WRITE
from annals.app.parameters import UNIQUE, CustomId, Email, Parameters, Password, Text, optional, required
from annals.app.users import queries
from annals.app.users.routes import TOKEN_SECONDS, Token, TokenOwner, create_user, open_for, token_for
from annals.app.wire import encode
from annals.domain.errors import UserUnauthorized
from annals.domain.project import CONSOLE
from annals.domain.user import User
from annals.projections.identity_models import present_session, present_user
from annals.store.postgres import sql

QUERIES = sql.load(__package__, "queries.sql")
CREATE = Parameters(
    userId=required(CustomId()),
    email=required(Email()),
    password=required(Password(LEAST, MOST)),
    name=optional(Text(128, 0), ""),
)
SIGN_IN = Parameters(email=required(Email()), password=required(Password(1, MOST)))
SESSION = Parameters(sessionId=required(Text(36)))
CURRENT = "current"
_OVER = "Thu, 01 Jan 1970 00:00:00 GMT"
_TOKEN = Parameters(duration=TOKEN_SECONDS)


class AccountController(operation.ResourceController):
    path = "/v1/account"
    opt = Declared(needs_project=False)

    @operation.post(scopes=SESSIONS_WRITE, parameters=CREATE)
    async def create(self, call: Call) -> Answer:
        if call.realm == CONSOLE:
            raise AccessForbidden("Users of the console are made with `annals users create-admin`.")
        user_id = call.new_id() if call.values["userId"] == UNIQUE else call.values["userId"]
        return raw_json_answer(await create_user(call, user_id, with_hash=False), status=201)

    @operation.get(scopes=ACCOUNT)
    async def get(self, call: Call) -> Answer:
        user = await queries.find_user(call, (await _user(call)).user_id)
        return raw_json_answer(encode(present_user(user, with_hash=False)))

    @operation.post("/sessions/email", scopes=SESSIONS_WRITE, parameters=SIGN_IN)
    async def sign_in(self, call: Call) -> Answer:
        """A wrong email and a wrong password give the same answer after the same time."""
        email, password = call.values["email"], call.values["password"]
        attempt = SignInAttempt(call, email)
        await attempt.begin()
        row = await call.services.database.row(QUERIES["by_email"], {"project": call.realm, "email": email})
        user_id, sealed = (row["user_id"], row["sealed_password"]) if row else ("", "")
        if not await call.services.passwords.fits(call.realm, user_id, sealed, password) or row is None:
            raise InvalidCredentials
        await attempt.succeed()
        if not row["enabled"]:
            raise UserBlocked
        opened = await open_for(call, user_id, "email")
        secret = opened.presented if (await call.caller()).privileged else ""
        shown = present_session(opened.row, email=email, current=True, secret=secret)
        return json_answer(
            shown, status=201, headers=opened_cookies(call, opened.presented, opened.row["expires_at"])
        )  # fmt: skip

    @operation.get("/sessions", scopes=ACCOUNT)
    async def list_sessions(self, call: Call) -> Answer:
        caller = await _user(call)
        return raw_json_answer(await queries.read_sessions(call, caller.user_id, current=caller.session_id))

    @operation.delete("/sessions", scopes=ACCOUNT)
    async def delete_sessions(self, call: Call) -> Answer:
        caller = await _user(call)
        key = User.key(call.realm, caller.user_id)
        recorded = await call.services.log.run(User.close_sessions, key, meta=await call.meta())
        call.seen(recorded.position)
        return _signed_out(call)

    @operation.get("/sessions/{sessionId:str}", scopes=ACCOUNT, parameters=SESSION)
    async def get_session(self, call: Call) -> Answer:
        caller = await _user(call)
        session_id = _named(call, caller)
        return raw_json_answer(
            await queries.read_session(call, caller.user_id, session_id, current=caller.session_id)
        )  # fmt: skip

    @operation.delete("/sessions/{sessionId:str}", scopes=ACCOUNT, parameters=SESSION)
    async def delete_session(self, call: Call) -> Answer:
        caller = await _user(call)
        session_id = _named(call, caller)
        key = User.key(call.realm, caller.user_id)
        recorded = await call.services.log.run(User.close_session, key, meta=await call.meta(), session_id=session_id)
        call.seen(recorded.position)
        return _signed_out(call) if session_id == caller.session_id else no_content()

    @operation.post(["/jwts", "/jwt"], scopes=ACCOUNT, parameters=_TOKEN)
    async def create_token(self, call: Call) -> Answer:
        caller = await _user(call)
        if caller.by_token:  # or it would never end
            raise UserUnauthorized("A JWT is made by a session, not by another JWT.")
        owner = TokenOwner(caller.user_id, caller.incarnation, caller.session_id)
        token = await token_for(call, owner, call.values["duration"])
        return json_answer(Token(token), status=201)


async def _user(call: Call) -> Caller:
    """Return the caller. Raises UserUnauthorized for callers that are no users; their scope is judged elsewhere."""
    caller = await call.caller()
    if not caller.user_id:
        raise UserUnauthorized
    return caller


def _named(call: Call, caller: Caller) -> str:
    session_id: str = call.values["sessionId"]
    return caller.session_id if session_id == CURRENT else session_id


def _signed_out(call: Call) -> Answer:
    answer = no_content()
    answer.headers += closed_cookies(call)
    return answer


def opened_cookies(call: Call, presented: str, expires: datetime) -> list[Header]:
    """Return the headers of an answer that opens a session."""
    when = expires.strftime("%a, %d %b %Y %H:%M:%S GMT")
    return [*_cookies(call, presented, when), _fallback({cookie_names(call.realm)[0]: presented})]


def closed_cookies(call: Call) -> list[Header]:
    """Return the headers of an answer that closes the caller's session."""
    return [*_cookies(call, "", _OVER), _fallback({})]


def _cookies(call: Call, value: str, expires: str) -> list[Header]:
    """Return both cookies. SameSite=None is sent from pages of other sites and needs HTTPS; the other is for old
    browsers."""
    secure = call.scope["scheme"] == "https" or call.services.settings.endpoint.startswith("https:")
    common = f"{value}; path=/; expires={expires}; HttpOnly"
    name, legacy = cookie_names(call.realm)
    texts = [
        f"{name}={common}; {'Secure; SameSite=None' if secure else 'SameSite=Lax'}",
        f"{legacy}={common}{'; Secure' if secure else ''}",
    ]
    return [(b"set-cookie", text.encode("ascii")) for text in texts]


def _fallback(cookies: dict[str, str]) -> Header:
    return (b"x-fallback-cookies", encode(cookies))
