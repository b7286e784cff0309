"""The callers that an `execute` list admits (http-api.md 3.5), checked against a second, slower implementation."""

from hypothesis import given
from hypothesis import strategies as st

from annals.app.identity.caller import GUEST, USER_SCOPES, Caller, CallerMembership
from annals.app.parameters import Roles, ValidationError

ids = st.sampled_from(["a", "b", "c.1"])
words = st.sampled_from(["owner", "dev"])
memberships = st.lists(
    st.builds(CallerMembership, membership_id=ids, team_id=ids, roles=st.lists(words, max_size=2).map(tuple)),
    max_size=2,
)
callers = st.one_of(
    st.just(GUEST),
    st.builds(
        Caller,
        word=st.just("users"),
        scopes=st.just(USER_SCOPES),
        user_id=ids,
        verified=st.booleans(),
        labels=st.lists(st.sampled_from(["vip", "beta"]), max_size=2).map(tuple),
        memberships=memberships.map(tuple),
    ),
)
states = st.sampled_from(["", "/verified", "/unverified"])
roles = st.one_of(
    st.sampled_from(["any", "guests"]),
    states.map(lambda state: f"users{state}"),
    st.builds(lambda user, state: f"user:{user}{state}", ids, states),
    st.builds(lambda team, role: f"team:{team}{role}", ids, st.sampled_from(["", "/owner", "/dev"])),
    ids.map(lambda member: f"member:{member}"),
    st.sampled_from(["label:vip", "label:beta"]),
)


def lets_in(role: str, caller: Caller) -> bool:
    """Return True if one role admits the caller, by the contract's table."""
    word, _, rest = role.partition(":")
    identifier, _, dimension = rest.partition("/")
    if word == "any":
        return True
    if word == "guests":
        return not caller.user_id
    if not caller.user_id:
        return False
    if word.startswith("users") or word == "user":
        state = word.partition("/")[2] or dimension
        fits = not state or (state == "verified") == caller.verified
        return fits and (word.startswith("users") or identifier == caller.user_id)
    if word == "label":
        return identifier in caller.labels
    if word == "member":
        return any(member.membership_id == identifier for member in caller.memberships)
    return any(
        member.team_id == identifier and (not dimension or dimension in member.roles) for member in caller.memberships
    )


@given(execute=st.lists(roles, max_size=6), caller=callers)
def test_execute_list_admits_callers_with_one_of_its_roles(execute: list[str], caller: Caller) -> None:
    allowed = not caller.roles().isdisjoint(execute)

    assert allowed == any(lets_in(role, caller) for role in execute)


@given(role=roles)
def test_every_role_of_the_contract_can_be_set(role: str) -> None:
    assert Roles(100).parse([role, role]) == [role, role]


@given(role=roles, caller=callers)
def test_callers_only_have_roles_that_can_be_set(role: str, caller: Caller) -> None:
    for own in caller.roles():
        assert Roles(100).parse([own]) == [own]


@given(role=st.text(max_size=40))
def test_roles_that_cannot_be_set_admit_no_caller(role: str) -> None:
    try:
        Roles(100).parse([role])
    except ValidationError:
        assert GUEST.roles().isdisjoint([role])
