"""`make sbom`: the bill of materials of an installation, as CycloneDX, from the lock file alone and reproducible."""

import json
import re
import tomllib
from collections.abc import Iterator
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tests.architecture.source import ROOT

LOCK = ROOT / "requirements.lock"
PAGE = ROOT / "sbom.cdx.json"
_PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)(?: ; (.*?))?(?: \\)?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"#(?: via)? +([A-Za-z0-9._-]+)(?: \(pyproject\.toml\))?$")
_MARKER = "annals:marker"
"""The property that says for which machines a package is installed."""


class Pinned(NamedTuple):
    """One package of the lock file, and which others ask for it."""

    name: str
    version: str
    marker: str
    hashes: list[str]
    asked_by: list[str]


def pinned(text: str) -> Iterator[Pinned]:
    """The packages of a lock file."""
    package: Pinned | None = None
    for line in text.splitlines():
        if found := _PIN.match(line):
            if package is not None:
                yield package
            package = Pinned(found[1], found[2], found[3] or "", [], [])
        elif package is None:
            continue
        elif found := _HASH.search(line):
            package.hashes.append(found[1])
        elif found := _VIA.search(line):
            package.asked_by.append(found[1])
    if package is not None:
        yield package


def bill(lock: str, project: dict[str, str]) -> Bom:
    """The bill of materials of a lock file's text; `project` is the table of pyproject.toml."""
    root = Component(
        name=project["name"],
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=project["name"],
        purl=PackageURL("pypi", name=project["name"], version=project["version"]),
        licenses=[DisjunctiveLicense(id=project["license"])],
    )
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, lock))
    bom.metadata.component = root
    packages = list(pinned(lock))
    made = {package.name: _component(package) for package in packages} | {root.name: root}
    bom.components.update(made[package.name] for package in packages)
    for name, component in made.items():
        needs = [made[package.name] for package in packages if name in package.asked_by]
        bom.register_dependency(component, needs)
    return bom


def _component(package: Pinned) -> Component:
    """Hashes of a lock are those of all files of a release, whichever a machine takes."""
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{package.name}@{package.version}",
        purl=PackageURL("pypi", name=package.name, version=package.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.hashes],
        properties=[Property(name=_MARKER, value=package.marker)] if package.marker else [],
    )


def written(bom: Bom) -> str:
    """The document, without the moment at which it was made."""
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    PAGE.write_text(written(bill(LOCK.read_text(), project)))
    print(PAGE.name)


if __name__ == "__main__":
    main()
