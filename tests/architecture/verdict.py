"""What a part of the audit has found."""

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """`known` is false where there may be an advisory that nobody told of."""

    lines: list[str]
    clean: bool
    known: bool
