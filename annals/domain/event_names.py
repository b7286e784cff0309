"""What happened, in the words of event patterns, and every name that a subscriber may know it by (http-api.md 8.5)."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, NamedTuple

from annals.domain.team import Team
from annals.domain.user import User


class Happening(NamedTuple):
    """`levels` are pairs of type and id, the outermost first; `attribute` is what of it changed, empty for all."""

    levels: tuple[tuple[str, str], ...]
    action: str
    attribute: str = ""

    @property
    def names(self) -> list[str]:
        """All names, in the order of the contract; the first is the one that subscribers are told."""
        variants = self._variants(self.levels)
        names = [f"{name}.{self.action}" for name in variants]
        if self.attribute:
            names += [f"{name}.{self.action}.{self.attribute}" for name in variants]
        for depth in range(len(self.levels), 0, -1):
            names += self._variants(self.levels[:depth])
        return names

    @staticmethod
    def _variants(levels: tuple[tuple[str, str], ...]) -> list[str]:
        """With all ids, with none, then with some of them, the outermost kept first."""
        choices = list(product(*((f"{kind}.{own_id}", f"{kind}.*") for kind, own_id in levels)))
        ordered = [choices[0], choices[-1], *choices[1:-1]]
        return [".".join(choice) for choice in ordered]


def happening(event: Any) -> Happening | None:
    """What an event is to subscribers; None for what nobody may subscribe to.

    Events of functions are left out: no function is triggered by functions (http-api.md 10.4).
    """
    words = _WORDS.get(type(event))
    return None if words is None else words.of(words.ids(event))


def wants(event: Any) -> bool:
    """Whether there may be subscribers to an event."""
    return type(event) in _WORDS


def is_emitted(pattern: str) -> bool:
    """Whether anything that happens here can have a name that a pattern stands for; ids are not looked at."""
    parts = pattern.split(".")
    outer = [*parts[:1], "*", *parts[2:]]
    both = [*outer[:3], "*", *outer[4:]]
    return not _EMITTED.isdisjoint({".".join(outer), ".".join(both)})


class _Words(NamedTuple):
    """An event in the words of patterns: its types, how their ids are read from it, its action and attribute."""

    kinds: tuple[str, ...]
    ids: Callable[[Any], tuple[str, ...]]
    action: str
    attribute: str = ""

    def of(self, ids: tuple[str, ...]) -> Happening:
        return Happening(tuple(zip(self.kinds, ids, strict=True)), self.action, self.attribute)


def _user(action: str, attribute: str = "") -> _Words:
    return _Words(("users",), lambda event: (_own_id(event),), action, attribute)


def _session(action: str, session_id: Callable[[Any], str]) -> _Words:
    return _Words(("users", "sessions"), lambda event: (_own_id(event), session_id(event)), action)


def _team(action: str) -> _Words:
    return _Words(("teams",), lambda event: (_own_id(event),), action)


def _member(action: str, member_id: Callable[[Any], str], attribute: str = "") -> _Words:
    return _Words(("teams", "memberships"), lambda event: (_own_id(event), member_id(event)), action, attribute)


def _own_id(event: Any) -> str:
    return str(event.originator_id).rpartition(":")[2]


_WORDS: Mapping[type, _Words] = {
    User.Created: _user("create"),
    User.NameChanged: _user("update", "name"),
    User.EmailChanged: _user("update", "email"),
    User.PhoneChanged: _user("update", "phone"),
    User.PasswordSet: _user("update", "password"),
    User.StatusChanged: _user("update", "status"),
    User.VerificationChanged: _user("update", "verification"),
    User.LabelsChanged: _user("update", "labels"),
    User.Deleted: _user("delete"),
    User.SessionOpened: _session("create", lambda event: event.session.session_id),
    User.SessionClosed: _session("delete", lambda event: event.session_id),
    Team.Created: _team("create"),
    Team.Renamed: _team("update"),
    Team.Deleted: _team("delete"),
    Team.MemberAdded: _member("create", lambda event: event.membership.membership_id),
    Team.MemberConfirmed: _member("update", lambda event: event.membership_id, "status"),
    Team.MemberChanged: _member("update", lambda event: event.membership_id),
    Team.MemberRemoved: _member("delete", lambda event: event.membership_id),
}
_EMITTED = frozenset(name for words in _WORDS.values() for name in words.of(("*",) * len(words.kinds)).names)
