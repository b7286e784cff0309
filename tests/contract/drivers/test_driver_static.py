"""The `static` runtime serves a deployment's files and no others."""

import msgspec
import pytest

from annals.domain.ports import Outcome, Run
from tests.contract.drivers.hosts import Host
from tests.unit.executor.archives import gzipped

pytestmark = pytest.mark.timeout(300)

SITE = {
    "index.html": b"<p>home</p>",
    "about.html": b"about",
    "docs/index.html": b"docs",
    "docs/a file.css": b"p {}",
    "image.png": bytes(range(256)),
    ".env": b"SECRET=1",
    ".well-known/security.txt": b"mail us",
    "404.html": b"<p>lost</p>",
}


@pytest.fixture
async def site(host: Host) -> Run:
    job = await host.job(gzipped(SITE), runtime="static-1", entrypoint="index.html")
    outcome = await host.client.build(job, host.hear)
    if outcome.reason == "runtime_unavailable":
        pytest.skip(outcome.message)
    assert outcome.artefact is not None, host.log
    function = await host.function("def main(context):\n    return context.res.empty()")
    return msgspec.structs.replace(
        function, deployment=job.deployment, runtime="static-1", artefact=outcome.artefact, entrypoint="index.html"
    )


def header(outcome: Outcome, name: str) -> str:
    return dict(outcome.headers).get(name, "")


async def test_static_files_are_served_unchanged(host: Host, site: Run) -> None:
    home, image, style = [await host.execute(site, path=path) for path in ("/", "/image.png", "/docs/a%20file.css?v=1")]

    assert (home.status_code, home.body) == (200, SITE["index.html"])
    assert header(home, "content-type").startswith("text/html")
    assert image.body == SITE["image.png"]
    assert header(image, "content-type").startswith("image/png")
    assert style.body == b"p {}"


async def test_pages_have_names_without_endings_and_folders_a_slash(host: Host, site: Run) -> None:
    about, folder, docs = [await host.execute(site, path=path) for path in ("/about", "/docs?a=b", "/docs/")]

    assert about.body == b"about"
    assert (folder.status_code, header(folder, "location")) == (301, "/docs/?a=b")
    assert docs.body == b"docs"


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/.env", "/%2eenv", "/../../../etc/passwd", "/%2e%2e/%2e%2e/src/server.py", "/.open-runtimes", "/%00"],
)
async def test_hidden_files_and_files_outside_the_deployment_are_not_found(host: Host, site: Run, path: str) -> None:
    outcome = await host.execute(site, path=path)

    assert (outcome.status_code, outcome.body) == (404, SITE["404.html"])


async def test_unchanged_file_answers_304_to_a_conditional_request(host: Host, site: Run) -> None:
    first = await host.execute(site, path="/about.html")
    second = await host.execute(site, path="/about.html", headers=[("if-none-match", header(first, "etag"))])
    posted = await host.execute(site, path="/about.html", method="POST")

    assert (second.status_code, second.body) == (304, b"")
    assert (posted.status_code, header(posted, "allow")) == (405, "GET, HEAD")
    assert (await host.execute(site, path="/.well-known/security.txt")).body == b"mail us"
