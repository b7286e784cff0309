"""Puts compressed copies of what lies at some URLs away, with a manifest by which they can be checked."""

import gzip
import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timezone

TIMEOUT_SECONDS = 30
MOST_BYTES = 64 * 1024 * 1024


class Failed(Exception):
    """One source or the target could not be reached, or gave too much."""


def main(context):
    sources = named(os.environ.get("BACKUP_SOURCES", ""))
    target = os.environ.get("BACKUP_TARGET", "").rstrip("/")
    if not sources or not target:
        context.error("Set BACKUP_SOURCES and BACKUP_TARGET.")
        return context.res.json({"error": "This job is not set up."}, 500)

    now = datetime.now(timezone.utc)
    folder = f"{target}/{now:%Y-%m-%dT%H%M%SZ}"
    manifest = {"begun": now.isoformat(timespec="seconds"), "trigger": context.req.headers.get("x-appwrite-trigger", "")}
    manifest["copies"] = [copied(context, name, url, folder) for name, url in sources.items()]
    failed = [copy["name"] for copy in manifest["copies"] if "error" in copy]
    try:
        put(f"{folder}/manifest.json", json.dumps(manifest, indent=2).encode())
    except Failed as reason:
        context.error(f"manifest: {reason}")
        failed.append("manifest")
    context.log(f"{len(sources)} sources, {len(failed)} failed")
    return context.res.json({"folder": folder, **manifest, "failed": failed}, 500 if failed else 200)


def named(text):
    """`name=url` pairs, separated by commas."""
    pairs = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): url.strip() for name, _, url in pairs if url.strip()}


def copied(context, name, url, folder):
    """One source's line of the manifest; a failure of one leaves the others alone."""
    try:
        data = get(url)
        packed = gzip.compress(data, mtime=0)
        put(f"{folder}/{urllib.parse.quote(name)}.gz", packed)
    except Failed as reason:
        context.error(f"{name}: {reason}")
        return {"name": name, "error": str(reason)}
    return {"name": name, "bytes": len(data), "packed": len(packed), "sha256": hashlib.sha256(data).hexdigest()}


def get(url):
    data = ask(urllib.request.Request(url, headers=bearer("BACKUP_SOURCE_TOKEN")))
    if len(data) > MOST_BYTES:
        raise Failed(f"more than {MOST_BYTES} bytes")
    return data


def put(url, data):
    ask(urllib.request.Request(url, data=data, method="PUT", headers=bearer("BACKUP_TARGET_TOKEN")))


def ask(request):
    if request.type not in {"http", "https"}:
        raise Failed("only http and https URLs")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise Failed(f"answered {error.code}") from error
    except OSError as error:
        raise Failed(str(getattr(error, "reason", error))) from error


def bearer(variable):
    token = os.environ.get(variable)
    return {"authorization": f"Bearer {token}"} if token else {}
