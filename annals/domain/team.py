"""A team of a project: its members and their roles. Only confirmed memberships count."""

from typing import ClassVar

import msgspec

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, DeletionEvent
from annals.domain.errors import (
    MembershipAlreadyConfirmed,
    MembershipNotFound,
    TeamAlreadyExists,
    TeamInviteAlreadyExists,
    TeamNotFound,
)

OWNER = "owner"
"""The role that may change a team."""


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """A user's membership; an unconfirmed one is an invitation."""

    membership_id: str
    user_id: str
    roles: list[str]
    confirmed: bool


class Team(Aggregate):
    TOPIC: ClassVar[str] = "team"
    MISSING = TeamNotFound
    TAKEN = TeamAlreadyExists
    SNAPSHOT_EVERY = 100

    class Event(AggregateEvent, frozen=True):
        pass

    class Created(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "team.created"
        project_id: str
        team_id: str
        name: str

    class Renamed(Event, frozen=True):
        TOPIC: ClassVar[str] = "team.renamed"
        name: str

        def apply(self, aggregate: "Team") -> None:
            aggregate.name = self.name

    class MemberAdded(Event, frozen=True):
        TOPIC: ClassVar[str] = "team.member_added"
        membership: Membership

        def apply(self, aggregate: "Team") -> None:
            aggregate.memberships[self.membership.membership_id] = self.membership

    class MemberConfirmed(Event, frozen=True):
        """The invited user has joined."""

        TOPIC: ClassVar[str] = "team.member_confirmed"
        membership_id: str

        def apply(self, aggregate: "Team") -> None:
            member = aggregate.memberships[self.membership_id]
            aggregate.memberships[self.membership_id] = msgspec.structs.replace(member, confirmed=True)

    class MemberChanged(Event, frozen=True):
        TOPIC: ClassVar[str] = "team.member_changed"
        membership_id: str
        roles: list[str]

        def apply(self, aggregate: "Team") -> None:
            member = aggregate.memberships[self.membership_id]
            aggregate.memberships[self.membership_id] = msgspec.structs.replace(member, roles=self.roles)

    class MemberRemoved(Event, frozen=True):
        TOPIC: ClassVar[str] = "team.member_removed"
        membership_id: str

        def apply(self, aggregate: "Team") -> None:
            del aggregate.memberships[self.membership_id]

    class Deleted(DeletionEvent, Event, frozen=True):
        """The team and all its memberships are deleted."""

        TOPIC: ClassVar[str] = "team.deleted"

    def __init__(self, project_id: str, team_id: str, name: str) -> None:
        self.project_id = project_id
        self.team_id = team_id
        self.name = name
        self.memberships: dict[str, Membership] = {}

    def rename(self, name: str) -> None:
        if name != self.name:
            self.trigger_event(self.Renamed, name=name)

    def add_member(self, membership: Membership) -> None:
        """Add a member. Raises TeamInviteAlreadyExists if the user has a membership already."""
        taken = membership.membership_id in self.memberships
        if taken or any(member.user_id == membership.user_id for member in self.memberships.values()):
            raise TeamInviteAlreadyExists
        self.trigger_event(self.MemberAdded, membership=membership)

    def confirm_member(self, membership_id: str) -> None:
        if self.membership(membership_id).confirmed:
            raise MembershipAlreadyConfirmed
        self.trigger_event(self.MemberConfirmed, membership_id=membership_id)

    def change_member(self, membership_id: str, roles: list[str]) -> None:
        if self.membership(membership_id).roles != roles:
            self.trigger_event(self.MemberChanged, membership_id=membership_id, roles=roles)

    def remove_member(self, membership_id: str) -> None:
        self.membership(membership_id)
        self.trigger_event(self.MemberRemoved, membership_id=membership_id)

    def remove_user(self, user_id: str) -> None:
        """Remove a deleted user's membership, if there is one."""
        for member in [member for member in self.memberships.values() if member.user_id == user_id]:
            self.remove_member(member.membership_id)

    def membership(self, membership_id: str) -> Membership:
        """Return a membership. Raises MembershipNotFound."""
        try:
            return self.memberships[membership_id]
        except KeyError:
            raise MembershipNotFound from None

    def delete(self) -> None:
        self.trigger_event(self.Deleted)
