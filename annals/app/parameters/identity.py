"""Parameter kinds of users and teams: emails, phones, labels, roles in teams."""

import re
from typing import Any

from annals.app.parameters.kinds import ValidationError

_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(f"{_LOCAL}@{_HOST}", re.ASCII)
_PHONE = re.compile(r"\+[1-9][0-9]{0,14}", re.ASCII)
LABEL = re.compile(r"[A-Za-z0-9]{1,36}", re.ASCII)
TEAM_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", re.ASCII)
_MOST_OF_EMAIL, _MOST_OF_LOCAL = 320, 64


class Email:
    """An email address, returned in lower case."""

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > _MOST_OF_EMAIL or not _EMAIL.fullmatch(value):
            raise ValidationError(self.describe())
        if value.index("@") > _MOST_OF_LOCAL:
            raise ValidationError(self.describe())
        return value.lower()

    def describe(self) -> str:
        return "Value must be a valid email address"


class Phone:
    """A phone number in the form of E.164."""

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not _PHONE.fullmatch(value):
            raise ValidationError(self.describe())
        return value

    def describe(self) -> str:
        return "Phone number must start with a '+' can have a maximum of fifteen digits."


class Emptiable:
    """A value of another kind, or the empty text."""

    def __init__(self, kind: Email | Phone) -> None:
        self.kind = kind

    def parse(self, value: Any) -> str:
        return "" if value == "" else self.kind.parse(value)

    def describe(self) -> str:
        return self.kind.describe()


class Password:
    """A password within the length bounds. Messages never contain it."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            raise ValidationError(self.describe())
        return value

    def describe(self) -> str:
        return f"Password must be between {self.least} and {self.most} characters long."


class Label:
    """A word that marks users."""

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not LABEL.fullmatch(value):
            raise ValidationError(self.describe())
        return value

    def describe(self) -> str:
        return (
            "Value must be a valid string and at least 1 chars and no longer than 36 chars and only letters or digits"
        )


class TeamRole:
    """A member's role, with the characters that role strings allow."""

    def parse(self, value: Any) -> str:
        if not isinstance(value, str) or not TEAM_ROLE.fullmatch(value):
            raise ValidationError(self.describe())
        return value

    def describe(self) -> str:
        return "Roles must contain at most 81 chars. Valid chars are a-z, A-Z, 0-9, period, hyphen, and underscore."
