"""The reference page, generated from the code by `make docs`: commands, events, reasons and metrics."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from typing import get_args

import annals.domain
from annals.cli.main import COMMANDS
from annals.domain.base import Aggregate, AggregateEvent
from annals.domain.ports import BuildReason, Reason
from annals.store.log.mapper import aggregate_classes
from tests.architecture.source import PACKAGE, ROOT

PAGE = ROOT / "docs" / "reference.md"


def _aggregates() -> list[type[Aggregate]]:
    for module in pkgutil.iter_modules(annals.domain.__path__, "annals.domain."):
        importlib.import_module(module.name)
    ours = [a for a in aggregate_classes().values() if a.__module__.startswith("annals.")]  # tests have their own
    return sorted(ours, key=lambda aggregate: str(vars(aggregate).get("TOPIC", "")))


def _events() -> Iterator[str]:
    yield "| event | fields |\n|---|---|"
    inherited = set(AggregateEvent.__struct_fields__) | {"originator_topic"}
    for aggregate in _aggregates():
        events = [e for e in vars(aggregate).values() if inspect.isclass(e) and issubclass(e, AggregateEvent)]
        for event in events:
            if topic := vars(event).get("TOPIC"):
                fields = [f"`{name}`" for name in event.__struct_fields__ if name not in inherited]
                yield f"| `{topic}` | {', '.join(fields) or '–'} |"


_REASONS = {
    "bad_archive": "The uploaded source is no archive that can be unpacked.",
    "build_not_ready": "The build of the deployment is not ready.",
    "canceled": "A caller canceled it.",
    "command_failed": "A command of the build ended with an error.",
    "crashed": "The code ended its process.",
    "dead_lettered": "Every attempt of the retry policy failed.",
    "deployment_missing": "The function, its active deployment or the deployment's artefact is not there.",
    "empty_output": "The build left nothing to run.",
    "empty_source": "The source holds no files.",
    "entrypoint_missing": "The build's output does not hold the entrypoint.",
    "error": "The code answered with an error, or what it was given cannot be read.",
    "executor_lost": "The executor was gone for longer than a build waits.",
    "out_of_memory": "The code used more memory than its specification has.",
    "output_too_large": "The build's output is over the limit.",
    "response_too_large": "The response is over the limit.",
    "runtime_unavailable": "No executor, container engine or runtime was there in time.",
    "source_unavailable": "The source cannot be fetched or read.",
    "start_failed": "No instance became ready in time.",
    "timeout": "It took longer than it may.",
    "variable_unreadable": "The data key that sealed a variable is not here. Set the named variable again.",
    "worker_lost": "The process that carried it out was lost.",
}


def _reasons() -> Iterator[str]:
    """Every reason has a sentence: a KeyError names the one that has none."""
    executions, builds = get_args(Reason), get_args(BuildReason)
    yield "| reason | of failed | says |\n|---|---|---|"
    for reason in sorted({*executions, *builds} - {""}):
        kinds = [kind for kind, known in (("executions", executions), ("builds", builds)) if reason in known]
        yield f"| `{reason}` | {', '.join(kinds)} | {_REASONS[reason]} |"


def _metrics() -> Iterator[str]:
    found: dict[str, str] = {}
    for module in ("telemetry/metrics.py", "app/health/conservation.py"):
        text = (PACKAGE / module).read_text()
        found.update(re.findall(r"\"(annals_\w+)\",\s*\"([^\"]+)\"", text))
    yield "| metric | tells |\n|---|---|"
    yield from (f"| `{name}` | {help_text} |" for name, help_text in sorted(found.items()))


def _commands() -> Iterator[str]:
    yield "| command | does |\n|---|---|"
    yield from (f"| `annals {name}` | {line} |" for name, (_, line) in COMMANDS.items())


_ELSEWHERE = "Routes: [HTTP API](http-api.md). Errors: [Errors](errors.md). Settings: [Settings](settings.md).\n"


def page() -> str:
    """Return the text of the page."""
    sections = {
        "Commands": _commands(),
        "Events": _events(),
        "Reasons": _reasons(),
        "Metrics": _metrics(),
    }
    head = "# Reference\n\nMade from the code by `make docs`; a test holds it to that.\n" + _ELSEWHERE
    return "\n".join([head, *(f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in sections.items())])


if __name__ == "__main__":
    PAGE.write_text(page())
