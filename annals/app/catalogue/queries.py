"""Queries that read runtimes and the bundled index of templates, limited to what the instance offers."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from importlib.resources import files

import msgspec

from annals.app.catalogue.schemas import RuntimeListModel, TemplateModel, runtime, template
from annals.app.wire import encode
from annals.domain.runtimes import RUNTIMES

USE_CASES = ("starter", "databases", "ai", "messaging", "utilities", "dev-tools", "auth")


@lru_cache(maxsize=1)
def _index() -> tuple[TemplateModel, ...]:
    entries = msgspec.json.decode(files(__package__).joinpath("templates.json").read_bytes())
    return tuple(template(entry) for entry in entries)


@lru_cache(maxsize=4)
def runtimes(offered: frozenset[str]) -> bytes:
    """Return the offered runtimes as the JSON of their list."""
    rows = [runtime(known) for known in RUNTIMES.values() if known.id in offered]
    return encode(RuntimeListModel(len(rows), rows))


@lru_cache(maxsize=4)
def templates(offered: frozenset[str]) -> tuple[TemplateModel, ...]:
    """Return all templates in the catalogue's order, with those of their runtimes that are offered."""
    return tuple(
        msgspec.structs.replace(entry, runtimes=[one for one in entry.runtimes if one.name in offered])
        for entry in _index()
    )


def matching(
    all_of: Sequence[TemplateModel], *, use_cases: Collection[str], runtime_ids: Collection[str]
) -> list[TemplateModel]:
    """Return templates with one of the use cases and one of the runtimes. An empty filter matches all."""
    return [
        entry
        for entry in all_of
        if (not use_cases or not set(use_cases).isdisjoint(entry.use_cases))
        and (not runtime_ids or any(one.name in runtime_ids for one in entry.runtimes))
    ]
