"""Named queries: an SQL statement longer than a line lives in a `.sql` file, with a line that says its purpose."""

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\n-- (?P<purpose>[^\n]+)\n", re.MULTILINE)


class SqlFileError(ValueError):
    """A file of named queries in the wrong form."""


class NamedQueries(Mapping[str, str]):
    """The statements of one file by name. The error for an unknown name lists the known ones."""

    def __init__(self, source: str, texts: Mapping[str, str], purposes: Mapping[str, str]) -> None:
        self.source, self.purposes = source, purposes
        self._texts = texts

    def __getitem__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            raise KeyError(f"{self.source} has no query {name!r}; it has {', '.join(self._texts)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def parse(source: str, text: str) -> NamedQueries:
    """Split a file into its queries. Each begins with `-- name: x` and a line `-- <purpose>`.

    Raises SqlFileError for anything before the first name, a missing purpose, an empty query or a name used twice.
    """
    heads = list(_NAME.finditer(text))
    if len(heads) != text.count("-- name:"):
        raise SqlFileError(f"{source}: each '-- name: x' is followed by one line '-- <purpose>'")
    if not heads or text[: heads[0].start()].strip():
        raise SqlFileError(f"{source}: the file begins with '-- name: x'")
    texts: dict[str, str] = {}
    purposes: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        name, body = head["name"], text[head.end() : following.start() if following else None].strip().rstrip(";")
        if name in texts:
            raise SqlFileError(f"{source}: {name} is defined twice")
        if not body:
            raise SqlFileError(f"{source}: {name} is empty")
        texts[name], purposes[name] = body, head["purpose"]
    return NamedQueries(source, texts, purposes)


def load(package: str, file: str) -> NamedQueries:
    """Read a file of named queries that lies beside a package's modules, e.g. `load(__package__, "events.sql")`."""
    return parse(f"{package}/{file}", files(package).joinpath(file).read_text("utf-8"))
