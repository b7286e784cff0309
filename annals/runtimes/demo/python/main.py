"""Counts bytes in words people use."""

import os
import sys

import humanize


def main(context):
    size = int(context.req.query.get("bytes", "1500000"))
    words = humanize.naturalsize(size)
    context.log(f"{size} bytes are {words}")
    return context.res.json(
        {"greeting": os.environ.get("GREETING", "hello"), "words": words, "python": sys.version.split()[0]}
    )
