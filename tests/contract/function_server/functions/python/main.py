"""The fixture function: does what the request header `x-action` says."""

import array
import asyncio
import contextvars
import hashlib
import os
import sys
import threading
import time

from .lib import greeting

calls = 0


def text(context):
    return context.res.text("Hello 👋")


def json(context):
    return context.res.json({"a": {"b": [1, 2], "c": "d e"}, "f": 1.5})


def redirect(context):
    return context.res.redirect("https://example.com/x?y=1")


def empty(context):
    return context.res.empty()


def nothing(context):
    context.res.text("not returned")


def two(context):
    context.res.text("first")
    return context.res.text("second")


def headers(context):
    return context.res.text(
        "ok",
        200,
        {"X-Open-Runtimes-Secret-Thing": "hidden", "X-Custom": "kept", "x-number": 5, "Content-Type": "Text/HTML"},
    )


def multipart(context):
    return context.res.text("ok", 200, {"content-type": "multipart/form-data; boundary=AbC"})


def charset(context):
    return context.res.text("ok", 200, {"content-type": "text/Plain; charset=ISO-8859-1"})


def cookies(context):
    return context.res.text("ok", 200, {"set-cookie": ["a=1", "b=2"]})


def binary(context):
    raw = bytes([0, 10, 255])
    kinds = {
        "bytes": raw,
        "bytearray": bytearray(raw),
        "memoryview": memoryview(raw),
        "slice": memoryview(b"xx" + raw + b"x")[2:5],
        "array": array.array("B", raw),
    }
    if context.req.query.get("kinds") is not None:
        return context.res.json(sorted(kinds))
    return context.res.binary(kinds[context.req.query["kind"]])


def send(context):
    return context.res.send(context.req.body_raw)


def status(context):
    return context.res.text("ok", int(context.req.query["code"]))


def plain_map(context):
    return {"body": "bare"}


def bare_string(context):
    return "just text"


def injected(context):
    return context.res.text("x", 200, {"x-bad": "a\r\nset-cookie: evil=1"})


def describe(context):
    req = context.req
    return context.res.json(
        {
            "method": req.method,
            "scheme": req.scheme,
            "host": req.host,
            "port": req.port,
            "path": req.path,
            "queryString": req.query_string,
            "query": req.query,
            "url": req.url,
            "headers": req.headers,
        }
    )


def body_text(context):
    return context.res.text(context.req.body_text)


def body(context):
    value = context.req.body
    return context.res.text(value) if isinstance(value, str) else context.res.json({"parsed": value})


def body_json(context):
    return context.res.json({"key": context.req.body_json["key"]})


def body_binary(context):
    return context.res.binary(context.req.body_binary)


def digest(context):
    md5 = hashlib.md5(context.req.body_binary).hexdigest()  # noqa: S324
    return context.res.json({"md5": md5, "method": context.req.method})


def environment(context):
    return context.res.json(
        {
            "custom": os.environ.get("CUSTOM"),
            "missing": os.environ.get("NOT_DEFINED"),
            "cpus": os.environ.get("OPEN_RUNTIMES_CPUS"),
            "memory": os.environ.get("OPEN_RUNTIMES_MEMORY"),
            "own": [name for name in os.environ if name.startswith("ANNALS_")],
        }
    )


def logs(context):
    context.log("Text", "joined")
    context.log(42)
    context.log(4.2)
    context.log(True)
    context.log({"object": "value"})
    context.log(["array", 1])
    context.log("a" + "+" + "b")
    context.log()
    context.error("Only an error")
    return context.res.text("ok")


def native(context):
    context.log("before")
    print("Printed", 1)
    print("partial", end="")
    sys.stderr.write(" line\n")
    context.log("after")
    sys.stdout.buffer.write("bytes\n".encode())
    return context.res.text("ok")


def long_lines(context):
    context.log("l" * 9000)
    context.error("e" * 9000)
    return context.res.text("ok")


def many_lines(context):
    for number in range(int(context.req.query["lines"])):
        context.log("%d %s" % (number, "x" * int(context.req.query["width"])))
    return context.res.text("ok")


def throw(context):
    raise ValueError("Something broke")


def log_then_throw(context):
    context.log("said before")
    raise ValueError("Something broke")


def leave(context):
    sys.exit(3)


def die(context):
    context.log("last words")
    os._exit(3)


async def sleep(context):
    context.log("start")
    await asyncio.sleep(float(context.req.query["seconds"]))
    context.log("end")
    return context.res.text("slept")


async def nap(context):
    """Sleeps in several steps and prints in each, so that concurrent calls interleave."""
    name = context.req.query["name"]
    for step in range(5):
        print("%s-%d" % (name, step))
        context.log("%s-logged-%d" % (name, step))
        await asyncio.sleep(0.01)
    await asyncio.to_thread(print, name + "-thread") if hasattr(asyncio, "to_thread") else print(name + "-thread")
    return context.res.text(name)


async def slow_log(context):
    for number in range(100):
        context.log("tick %d" % number)
    while not os.path.exists(context.req.query["until"]):
        await asyncio.sleep(0.01)
    context.log("last")
    return context.res.text("ok")


def block(context):
    """Holds its thread until a file is there, or for so many seconds."""
    context.log("blocking")
    end = time.monotonic() + float(context.req.query["seconds"])
    while time.monotonic() < end and not os.path.exists(context.req.query.get("until", "")):
        time.sleep(0.01)
    return context.res.text("unblocked")


def count(context):
    global calls
    calls += 1
    return context.res.text(str(calls))


def sibling(context):
    return context.res.text(greeting())


def late_failure(context):
    def fail():
        raise RuntimeError("late failure")

    threading.Timer(0.05, contextvars.copy_context().run, [fail]).start()
    return context.res.text("ok")


def main(context):
    return globals()[context.req.headers["x-action"].replace("-", "_")](context)
