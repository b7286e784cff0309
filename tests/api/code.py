"""The code that the tests deploy, and the archives that hold it."""

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

ECHO = """
module.exports = async ({ req, res, log, error }) => {
  const seen = { method: req.method, path: req.path, query: req.queryString, headers: req.headers,
                 body: req.bodyText, env: process.env };
  log(JSON.stringify(seen));
  error(JSON.stringify(seen));
  const wish = req.headers["x-wish"] ?? "";
  if (wish === "throw") throw new Error("as wished");
  if (wish === "sleep") await new Promise((done) => setTimeout(done, 600_000));
  if (wish === "second") await new Promise((done) => setTimeout(done, 1000));
  if (wish === "shout") {
    for (let i = 0; i < 1100; i++) { log("l".repeat(1000)); error("e".repeat(1000)); }
    log("end");
  }
  return res.json(seen, Number(req.headers["x-status"] ?? 200), { "x-own": "yes" });
};
"""


def echo(version: str = "") -> Mapping[str, str]:
    """Return the code of the contract's echo function; `version` distinguishes two deployments."""
    return {"index.js": ECHO.replace("{ method:", f'{{ version: "{version}", method:')}


def archive(folder: Path, files: Mapping[str, str], *, padding: int = 0, name: str = "code.tar.gz") -> str:
    """Write an archive to upload, and return its path; `padding` adds so many incompressible bytes."""
    path = folder / name
    with tarfile.open(path, "w:gz") as packed:
        contents = {file: text.encode() for file, text in files.items()}
        if padding:
            contents["padding"] = os.urandom(padding)
        for file, data in contents.items():
            member = tarfile.TarInfo(file)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return str(path)
