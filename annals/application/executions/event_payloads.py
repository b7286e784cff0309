"""The body for a triggered function: the resource as it was right after the event, folded from its stream."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from annals.domain.team import Membership, Team
from annals.domain.user import User
from annals.projections.identity_models import present_membership, present_session, present_team, present_user
from annals.store.log.reader import RecordedEvent


def payload(history: Sequence[RecordedEvent], member: User | None) -> bytes:
    """Return the resource after the last event as JSON, from the events of its stream.

    `member` is the user of a membership, None if the user does not exist any more.
    """
    begun = max(
        number
        for number, recorded_event in enumerate(history)
        if isinstance(recorded_event.event, User.Created | Team.Created)
    )
    history = history[begun:]
    aggregate: Any = None
    gone: Any = None
    for recorded_event in history:
        gone = _removed(aggregate, recorded_event.event)
        aggregate = recorded_event.event.mutate(aggregate)
    if isinstance(aggregate, User):
        return msgspec.json.encode(_of_user(aggregate, history, gone))
    return msgspec.json.encode(_of_team(aggregate, history, gone, member))


def member_of(history: Sequence[RecordedEvent]) -> str:
    """Return the id of the user whose membership the last event changed; empty for other events."""
    team: Any = None
    for recorded_event in history[:-1]:
        team = recorded_event.event.mutate(team)
    event = history[-1].event
    if isinstance(event, Team.MemberAdded):
        return event.membership.user_id
    if isinstance(event, Team.MemberConfirmed | Team.MemberChanged | Team.MemberRemoved):
        return str(team.memberships[event.membership_id].user_id)
    return ""


def _removed(aggregate: Any, event: Any) -> Any:
    if isinstance(event, User.SessionClosed):
        return aggregate.sessions[event.session_id]
    if isinstance(event, Team.MemberRemoved):
        return aggregate.memberships[event.membership_id]
    return None


def _of_user(user: User, history: Sequence[RecordedEvent], gone: Any) -> Any:
    event = history[-1].event
    if isinstance(event, User.SessionOpened | User.SessionClosed):
        session = event.session if isinstance(event, User.SessionOpened) else gone
        opened = _time(history, User.SessionOpened, lambda e: e.session.session_id == session.session_id)
        row = {**msgspec.structs.asdict(session), "user_id": user.user_id, "created_at": opened}
        return present_session(row, email=user.email)
    passwords = [
        recorded_event.recorded_at for recorded_event in history if getattr(recorded_event.event, "sealed_password", "")
    ]
    return present_user(
        {
            **_stamps(history),
            "user_id": user.user_id,
            "name": user.name,
            "email": user.email,
            "phone": user.phone,
            "enabled": user.enabled,
            "labels": user.labels,
            "email_verified": "email" in user.verified,
            "phone_verified": "phone" in user.verified,
            "password_set_at": passwords[-1] if passwords else None,
            "accessed_at": history[0].recorded_at,
        },
        with_hash=False,
    )


def _of_team(team: Team, history: Sequence[RecordedEvent], gone: Membership | None, member: User | None) -> Any:
    event = history[-1].event
    if isinstance(event, Team.Created | Team.Renamed | Team.Deleted):
        total = sum(membership.confirmed for membership in team.memberships.values())
        return present_team({**_stamps(history), "team_id": team.team_id, "name": team.name}, total)
    own_id = event.membership.membership_id if isinstance(event, Team.MemberAdded) else event.membership_id
    found = gone or team.memberships[own_id]
    invited = _time(history, Team.MemberAdded, lambda e: e.membership.membership_id == own_id)
    joined = _time(history, Team.MemberConfirmed, lambda e: e.membership_id == own_id) or invited
    row = {
        **msgspec.structs.asdict(found),
        "team_id": team.team_id,
        "created_at": invited,
        "updated_at": history[-1].recorded_at,
        "joined_at": joined if found.confirmed else None,
    }
    name, email = ("", "") if member is None else (member.name, member.email)
    return present_membership(row, user_name=name, user_email=email, team_name=team.name)


def _stamps(history: Sequence[RecordedEvent]) -> Mapping[str, datetime]:
    return {"created_at": history[0].recorded_at, "updated_at": history[-1].recorded_at}


def _time(history: Sequence[RecordedEvent], kind: type, matches: Any) -> datetime | None:
    """Return the time of the last matching event of a kind."""
    times = [
        recorded_event.recorded_at
        for recorded_event in history
        if isinstance(recorded_event.event, kind) and matches(recorded_event.event)
    ]
    return times[-1] if times else None
