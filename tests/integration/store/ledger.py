"""A small aggregate with its own read model, for tests of the store that are independent of functions."""

from typing import Any, ClassVar

from annals.domain.base import Aggregate, AggregateEvent, CreatedEvent, Key
from annals.domain.errors import DomainError
from annals.store.log.request import Statement


class AccountMissing(DomainError):
    type = "account_not_found"


class AccountTaken(DomainError):
    type = "account_already_exists"


class NameTaken(DomainError):
    type = "name_already_exists"


class Account(Aggregate):
    TOPIC: ClassVar[str] = "account"
    SNAPSHOT_EVERY = 10

    class Event(AggregateEvent, frozen=True):
        pass

    class Opened(CreatedEvent, Event, frozen=True):
        TOPIC: ClassVar[str] = "account.opened"
        name: str

    class Deposited(Event, frozen=True):
        TOPIC: ClassVar[str] = "account.deposited"
        amount: int

        def apply(self, aggregate: "Account") -> None:
            aggregate.balance += self.amount
            aggregate.amounts.append(self.amount)
            aggregate.last_on = self.timestamp

    class Closed(Event, frozen=True):
        TOPIC: ClassVar[str] = "account.closed"

        def apply(self, aggregate: "Account") -> None:
            aggregate.deleted = True

    def __init__(self, name: str) -> None:
        self.name, self.balance = name, 0
        self.amounts: list[int] = []
        self.last_on: Any = None

    def deposit(self, amount: int) -> None:
        self.trigger_event(self.Deposited, amount=amount)

    def close(self) -> None:
        self.trigger_event(self.Closed)


def key(account: str) -> Key:
    return Key(Account, f"account:p:{account}", AccountMissing)


def absent(account: str) -> Key:
    return Key(Account, f"account:p:{account}", None)


def open_account(former: Account | None, *, account: str, name: str = "") -> list[Account]:
    if former is not None and not former.deleted:
        raise AccountTaken
    return [Account.start(Account.Opened, f"account:p:{account}", former, name=name or account)]


def deposit(account: Account, *, amount: int) -> list[Account]:
    if amount:
        account.deposit(amount)
    return [account]


def transfer(source: Account, target: Account, *, amount: int) -> list[Account]:
    source.deposit(-amount)
    target.deposit(amount)
    return [source, target]


def close(account: Account) -> list[Account]:
    account.close()
    return [account]


TABLE = (
    "CREATE TABLE accounts (stream text PRIMARY KEY, name text CONSTRAINT accounts_name UNIQUE, balance bigint,"
    " version bigint, position bigint, at timestamptz)"
)
CONSTRAINT_ERRORS: dict[str, type[DomainError]] = {"accounts_name": NameTaken}

_OPENED = (
    "INSERT INTO accounts VALUES (%(stream)s, %(name)s, 0, %(version)s,"
    " event_position(%(stream)s, %(version)s), event_time(%(stream)s, %(version)s)) RETURNING *"
)
_DEPOSITED = (
    "UPDATE accounts SET balance = balance + %(amount)s, version = %(version)s,"
    " at = event_time(%(stream)s, %(version)s) WHERE stream = %(stream)s AND version < %(version)s RETURNING *"
)
_DIVIDED = "SELECT 1 / (1000 - %(amount)s::bigint)"


def inline(event: Any) -> list[Statement]:
    """The accounts table; a deposit of 1000 divides by zero."""
    identity = {"stream": event.originator_id, "version": event.originator_version}
    match event:
        case Account.Opened():
            return [Statement(_OPENED, {**identity, "name": event.name}, "accounts")]
        case Account.Deposited():
            amount = {"amount": event.amount}
            return [Statement(_DIVIDED, amount), Statement(_DEPOSITED, {**identity, **amount}, "accounts")]
        case Account.Closed():
            return [Statement("DELETE FROM accounts WHERE stream = %(stream)s", identity)]
    return []
