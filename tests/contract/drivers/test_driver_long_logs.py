"""Logs that are too long for an execution's record are kept whole, on both drivers and for both runtimes."""

import hashlib

import msgspec
import pytest

from tests.contract.drivers.hosts import NODE, PYTHON, Host

pytestmark = pytest.mark.timeout(300)

PY_FLOOD = """
import time
async def main(context):
    for n in range(int(context.req.body_text)): context.log(f"{n:04}" + "y" * 1019)
    if context.req.path == "/sleep": time.sleep(600)
    return context.res.text("done")
"""
JS_FLOOD = """
module.exports = async ({req, res, log}) => {
  for (let n = 0; n < Number(req.bodyText); n++) log(String(n).padStart(4, '0') + 'y'.repeat(1019));
  if (req.path === '/sleep') {
    await new Promise((go) => setTimeout(go, 300));
    for (;;);
  }
  return res.text('done');
};
"""


@pytest.mark.parametrize(("runtime", "source"), [(PYTHON, PY_FLOOD), (NODE, JS_FLOOD)], ids=["python", "node"])
async def test_long_logs_of_finished_and_killed_runs_are_stored_whole(host: Host, runtime: str, source: str) -> None:
    run = msgspec.structs.replace(await host.function(source, runtime), outputs_key="contents/p")
    ended = await host.execute(run, body=b"7000")
    killed = await host.execute(run, path="/sleep", body=b"2000", run_seconds=3.0, execution="e2")

    assert (ended.reason, killed.reason) == ("", "timeout")
    for outcome, lines in ((ended, 7000), (killed, 2000)):
        [whole] = outcome.whole
        data = await host.blobs.get(whole.key)
        assert (whole.kind, whole.size, whole.digest) == ("logs", len(data), hashlib.sha256(data).hexdigest())
        assert data == b"".join(b"%04d%b\n" % (n, b"y" * 1019) for n in range(lines))
