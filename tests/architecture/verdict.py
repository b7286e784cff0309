"""What a part of the audit has found."""

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """`known` is False if the advisory service did not answer."""

    lines: list[str]
    clean: bool
    known: bool
