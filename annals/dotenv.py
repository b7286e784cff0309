"""`ANNALS_*` lines of a `.env` file: NAME=value, `#` comments, single or double quotes around a value."""

import re
from pathlib import Path

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")


def variables(path: Path, prefix: str) -> dict[str, str]:
    """Those whose name begins with the prefix; a file that cannot be read has none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    values = {}
    for line in lines:
        match = _LINE.fullmatch(line)
        if match and match[1].startswith(prefix):
            values[match[1]] = _unquoted(match[2])
    return values


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in {"'", '"'} and value.find(quote, 1) > 0:
        return value[1 : value.find(quote, 1)]
    return value.split(" #", 1)[0].rstrip()
