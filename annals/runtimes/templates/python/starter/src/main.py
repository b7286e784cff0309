"""Answers every request; what it logs is kept with the execution."""

import json
import os


def main(context):
    req, res = context.req, context.res
    context.log(f"{req.method} {req.path}")

    if req.path == "/ping":
        return res.text("Pong")

    if req.method == "POST" and req.headers.get("content-type", "").startswith("application/json"):
        try:
            return res.json({"received": json.loads(req.body_text)})
        except ValueError as reason:
            context.error(f"The body is no JSON: {reason}")
            return res.json({"error": "Send JSON."}, 400)

    name, version = (os.environ.get(f"APPWRITE_FUNCTION_RUNTIME_{part}", "") for part in ("NAME", "VERSION"))
    return res.json(
        {
            "function": os.environ.get("APPWRITE_FUNCTION_NAME"),
            "deployment": os.environ.get("APPWRITE_FUNCTION_DEPLOYMENT"),
            "runtime": f"{name} {version}",
            "next": "Edit src/main.py and deploy again.",
        }
    )
