"""Runs the build helper as a plain child process with its own folders."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from annals.executor.toolchains import lay_out
from tests.contract.function_server.instance import ENTRYPOINTS, FUNCTIONS, Instance, interpreter

PASSED = ("PIP_", "NPM_CONFIG_", "npm_config_", "SSL_", "NODE_EXTRA_CA_CERTS", "HTTP", "http", "NO_PROXY", "no_proxy")
SIX = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"
IS_NUMBER = "41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="
LOCKS = {
    "python": {
        "requirements.txt": f"six==1.16.0 --hash=sha256:{SIX}\n",
        "main.py": "import six\n\n\ndef main(context):\n    return context.res.text(six.__version__)\n",
    },
    "node": {
        "package.json": '{"name":"locked","version":"1.0.0","dependencies":{"is-number":"7.0.0"}}',
        "package-lock.json": json.dumps(
            {
                "name": "locked",
                "version": "1.0.0",
                "lockfileVersion": 3,
                "packages": {
                    "": {"name": "locked", "version": "1.0.0", "dependencies": {"is-number": "7.0.0"}},
                    "node_modules/is-number": {
                        "version": "7.0.0",
                        "integrity": f"sha512-{IS_NUMBER}",
                    },
                },
            }
        ),
        "index.js": "module.exports = ({ res }) => res.text(String(require('is-number')('7')));\n",
    },
}
INSTALL = {"python": "pip install --require-hashes -r requirements.txt", "node": "npm ci"}
LOCKED_ANSWER = {"python": b"1.16.0", "node": b"true"}


@dataclass
class Result:
    """One finished build."""

    status: int
    output: str
    artefact: Path

    @property
    def magic(self) -> bytes:
        with self.artefact.open("rb") as file:
            return file.read(4)

    def names(self) -> set[str]:
        with tarfile.open(self.artefact) as archive:
            return {name.removeprefix("./") for name in archive.getnames()}

    def text(self, name: str) -> str:
        with tarfile.open(self.artefact) as archive:
            member = archive.extractfile("./" + name)
            assert member is not None
            return member.read().decode()


@dataclass
class Builder:
    """Runs the build helper of a language on folders of its own."""

    language: str
    root: Path

    def __post_init__(self) -> None:
        self.source = self.root / "source"
        self.output = self.root / "output"
        self.cache = self.root / "cache"
        self.source.mkdir()
        self.server = self.root / "server"
        lay_out(self.language, self.server)

    def build(self, commands: str = "", **environment: str) -> Result:
        shutil.rmtree(self.root / "build", ignore_errors=True)
        shutil.rmtree(self.output, ignore_errors=True)
        path = os.path.dirname(interpreter(self.language)) + os.pathsep + os.environ["PATH"]
        done = subprocess.run(
            ["bash", str(self.server / "helpers" / "build.sh"), commands],
            env={
                **{name: value for name, value in os.environ.items() if name.startswith(PASSED)},
                "PATH": path,
                "HOME": str(self.root),
                "CI": "true",
                "OPEN_RUNTIMES_ENTRYPOINT": ENTRYPOINTS[self.language],
                "ANNALS_BUILD_INPUT": str(self.source),
                "ANNALS_BUILD_DIR": str(self.root / "build"),
                "ANNALS_BUILD_OUTPUT": str(self.output),
                "ANNALS_BUILD_CACHE": str(self.cache),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=100,
        )
        return Result(done.returncode, done.stdout.decode(), self.output / "code.tar.gz")

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).write_text(text)

    def hello(self) -> "Builder":
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(FUNCTIONS / self.language, self.source, dirs_exist_ok=True, ignore=ignored)
        return self


def launch(start: Callable[..., Instance], builder: Builder) -> Instance:
    """Serve a build's output in the way of a container: by the start helper."""
    helper = builder.server / "helpers" / "start.sh"
    code = builder.root / "served"
    shutil.rmtree(code, ignore_errors=True)
    path = os.path.dirname(interpreter(builder.language)) + os.pathsep + os.environ["PATH"]
    return start(
        code=code,
        command=["bash", str(helper), "bash helpers/server.sh"],
        environment={"ANNALS_BUILD_OUTPUT": str(builder.output), "PATH": path, "OPEN_RUNTIMES_ENTRYPOINT": "elsewhere"},
    )
