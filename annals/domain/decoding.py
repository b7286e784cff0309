"""The exceptions of reading JSON or MessagePack that others wrote."""

import msgspec

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""Also for text that is not UTF-8 (ValueError), and for values nested too deep: neither is an error of msgspec."""
