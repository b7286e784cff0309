"""The sizes of instances (http-api.md 10.2), and the runtimes and sizes that an instance of Annals offers."""

from collections.abc import Collection

import msgspec

from annals.domain.runtimes import RUNTIMES, Runtime


class Specification(msgspec.Struct, frozen=True, kw_only=True):
    """A size of instance; `cpus` in cores, `memory` in MiB."""

    slug: str
    memory: int
    cpus: float


SPECIFICATIONS: dict[str, Specification] = {
    f"s-{cpus:g}vcpu-{label}": Specification(slug=f"s-{cpus:g}vcpu-{label}", memory=memory, cpus=cpus)
    for cpus, label, memory in (
        (0.5, "512mb", 512),
        (1, "512mb", 512),
        (1, "1gb", 1024),
        (2, "2gb", 2048),
        (2, "4gb", 4096),
        (4, "4gb", 4096),
        (4, "8gb", 8192),
        (8, "4gb", 4096),
        (8, "8gb", 8192),
    )
}


def allowed_runtimes(allowed: Collection[str]) -> dict[str, Runtime]:
    """Return the runtimes that an instance offers; an empty allow-list offers all."""
    return {id: runtime for id, runtime in RUNTIMES.items() if not allowed or id in allowed}  # noqa: A001


def allowed_specifications(*, most_cpus: float = 0, most_memory: int = 0) -> dict[str, Specification]:
    """Return the specifications within an instance's limits, 0 for none. The last one is the default."""
    return {
        slug: specification
        for slug, specification in SPECIFICATIONS.items()
        if (not most_cpus or specification.cpus <= most_cpus)
        and (not most_memory or specification.memory <= most_memory)
    }


def default_specification(offered: dict[str, Specification]) -> Specification:
    """Return the default size of new functions: the last offered one, or the smallest of all if none is offered."""
    if not offered:
        return next(iter(SPECIFICATIONS.values()))
    return next(reversed(offered.values()))
