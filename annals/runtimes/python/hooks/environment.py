"""Makes the virtual environment that a build installs into, and readies it to travel with the artefact.

Usage: environment.py make|seal FOLDER. `ensurepip` would take seconds and leave ten megabytes in every artefact:
instead the interpreter's own pip is lent to the environment for the time of the build.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
import venv
import zipfile

RUN_TIME = "/usr/local/server/src/function/runtime-env"

LENT_PIP = '''\
"""The base interpreter's pip, lent to this environment while the build runs."""

__file__ = {init!r}
__path__ = [{folder!r}]
with open(__file__, encoding="utf-8") as source:
    exec(compile(source.read(), __file__, "exec"))
'''
PIP_COMMAND = '#!/bin/sh\nexec "${0%/*}/python3" -m pip "$@"\n'
# Whichever interpreter serves the function, with these packages: no link that points out of the artefact.
PYTHON_COMMAND = """\
#!/bin/sh
root=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
PATH=$(printf %s "$PATH" | sed "s|$root/bin:||g; s|{run_time}/bin:||g")
PYTHONPATH=$root/lib/{version}/site-packages${{PYTHONPATH:+:$PYTHONPATH}} exec {version} "$@"
"""


def version() -> str:
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def make(root: str) -> None:
    venv.EnvBuilder(symlinks=True, with_pip=False, clear=True).create(root)
    folder = find_pip()
    if folder is None:
        print("This Python has no pip to install packages with.", file=sys.stderr)
        return
    shim = os.path.join(root, "lib", version(), "site-packages", "pip")
    os.mkdir(shim)
    write(os.path.join(shim, "__init__.py"), LENT_PIP.format(init=os.path.join(folder, "__init__.py"), folder=folder))
    for name in ("pip", "pip3", "pip" + version()[len("python") :]):
        write(os.path.join(root, "bin", name), PIP_COMMAND, mode=0o755)


def find_pip() -> str | None:
    """Return the folder of a pip package: the interpreter's own, or one unpacked from Python's bundled wheel."""
    found = importlib.util.find_spec("pip")
    if found is not None and found.submodule_search_locations:
        return next(iter(found.submodule_search_locations))
    if importlib.util.find_spec("ensurepip") is None:
        return None
    import ensurepip  # noqa: PLC0415 - not every distribution ships it

    folders = [os.path.join(os.path.dirname(ensurepip.__file__), "_bundled"), "/usr/share/python-wheels"]
    for folder in filter(os.path.isdir, folders):
        for name in sorted(os.listdir(folder), reverse=True):
            if name.startswith("pip-") and name.endswith(".whl"):
                unpacked = tempfile.mkdtemp(prefix="pip-")
                with zipfile.ZipFile(os.path.join(folder, name)) as wheel:
                    wheel.extractall(unpacked)
                return os.path.join(unpacked, "pip")
    return None


def seal(root: str) -> None:
    packages = os.path.join(root, "lib", version(), "site-packages")
    shim = os.path.join(packages, "pip")
    if os.path.isdir(shim) and not os.path.isdir(os.path.join(shim, "_internal")):  # else the build installed its own
        shutil.rmtree(shim)
    for name in ("pyvenv.cfg", "lib64", "include"):
        remove(os.path.join(root, name))
    binaries = os.path.join(root, "bin")
    for name in os.listdir(binaries):
        path = os.path.join(binaries, name)
        if os.path.islink(path) or name.lower().startswith("activate"):
            os.unlink(path)
        else:
            relocate(path, root)
    for name in ("python", "python3", version()):
        command = PYTHON_COMMAND.format(version=version(), run_time=RUN_TIME)
        write(os.path.join(binaries, name), command, mode=0o755)


def relocate(path: str, root: str) -> None:
    """Change an installed script's interpreter to the environment's later path; remove the commands of pip."""
    with open(path, "rb") as file:
        content = file.read()
    if content == PIP_COMMAND.encode():
        os.unlink(path)
    elif content.startswith(b"#!"):
        first, second, rest = [*content.split(b"\n", 2), b"", b""][:3]
        place, target = (os.path.join(root, "bin").encode(), (RUN_TIME + "/bin").encode())
        moved = b"\n".join([first.replace(place, target), second.replace(place, target), rest])
        with open(path, "wb") as file:
            file.write(moved)


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def write(path: str, text: str, mode: int = 0o644) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


if __name__ == "__main__":
    {"make": make, "seal": seal}[sys.argv[1]](sys.argv[2])
