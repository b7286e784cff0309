"""The functions that the benchmark deploys, as uploads."""

import io
import tarfile

SOURCES = {
    "node": "module.exports = async ({{ res }}) => res.text('hello {}')\n",
    "python": "def main(context):\n    return context.res.text('hello {}')\n",
}
"""Sources that differ by a number, since a source that was built before is not built again."""

HELLO_NODE = "module.exports = async ({ res }) => res.text('hello')\n"
HELLO_PYTHON = "def main(context):\n    return context.res.text('hello')\n"


def archive(name: str, text: str) -> bytes:
    """Return a gzipped tar of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


RUNTIMES = {
    "node": ("node-22", "index.js", archive("index.js", HELLO_NODE)),
    "python": ("python-3.11", "main.py", archive("main.py", HELLO_PYTHON)),
}
"""For each language: runtime id, entrypoint, upload."""
