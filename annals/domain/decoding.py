"""The exceptions when untrusted JSON or MessagePack is decoded."""

import msgspec

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""Includes ValueError for text that is not UTF-8, and RecursionError for deep nesting; msgspec raises neither."""
