"""Every deliberate difference between our OpenAPI documents and the reference's, with its reason.

A pattern (of `fnmatch`) may stand for many lines of `comparison.differences`; the first that matches explains one.
"""

from fnmatch import fnmatchcase
from typing import NamedTuple


class Reason(NamedTuple):
    """A pattern of differences, the API versions that have them, and the reason."""

    pattern: str
    api_versions: tuple[str, ...]
    why: str


_FORMER, _NEWEST = ("1.8.0",), ("2.5.0",)
_BOTH = _FORMER + _NEWEST
_UNION = "Parameters of both generations are accepted in every format."
_SIZES = "The document lists the sizes of this instance; the reference allows any text."

REASONS = (
    Reason("get * .asOf: ours alone", _BOTH, "The log keeps past states, so reads answer for any moment."),
    Reason("* .dryRun: ours alone", _BOTH, "Every write can run dry, with nothing recorded."),
    Reason("post * .Idempotency-Key: ours alone", _BOTH, "A repeated create request is carried out once."),
    Reason("* .specification: ours alone", _NEWEST, _UNION),
    Reason("* .buildSpecification: ours alone", _FORMER, _UNION),
    Reason("* .runtimeSpecification: ours alone", _FORMER, _UNION),
    Reason("p* .deploymentRetention: ours alone", _FORMER, _UNION),
    Reason("p* .providerBranches: ours alone", _FORMER, _UNION),
    Reason("p* .providerPaths: ours alone", _FORMER, _UNION),
    Reason("get /functions/specifications .type: ours alone", _FORMER, _UNION),
    Reason(
        "get /functions/runtimes .available: ours alone",
        _BOTH,
        "It selects the runtimes that work on this instance; the catalogue has more than any driver serves.",
    ),
    Reason("get * .token: ours alone", _FORMER, _UNION),
    Reason("get /functions/{functionId}/variables .*: ours alone", _FORMER, _UNION),
    Reason("post * .variableId: ours alone", _FORMER, _UNION),
    Reason(
        "post /functions .template*: ours alone", _BOTH, "SDKs of 1.8 still send these; they are checked and ignored."
    ),
    Reason("* .*pecification: enum *, not null", _BOTH, _SIZES),
    Reason(
        "* .*pecification: default null, not {}",
        _NEWEST,
        "An empty object is not a size. Without a value, Annals chooses the size.",
    ),
    Reason("get /functions/specifications .type: enum *", _NEWEST, "The document lists the two accepted words."),
    Reason(
        "* .runtime: enum *", _FORMER, "Every format has the newest catalogue, with runtimes that were added since."
    ),
    Reason(
        "* .runtimes: items *", _FORMER, "Every format has the newest catalogue, with runtimes that were added since."
    ),
    Reason("* .scopes: items *", _BOTH, "Both names of a renamed scope are accepted in every format."),
    Reason("* .search: default null, not *", _BOTH, "An empty search is refused, so the default is none."),
    Reason("* .token: default null, not *", _NEWEST, "Download tokens are not served."),
    Reason("* .buildId: default null, not *", _NEWEST, "An empty id is refused, so the default is none."),
    Reason(
        "put * .runtime: default null, not *",
        _NEWEST,
        "An empty runtime is refused. Without a value, the runtime stays as it is.",
    ),
    Reason("* .headers: default {}, not *", _BOTH, "Headers are an object; an empty list is accepted too."),
    Reason(
        "* .*: default *, not null", _FORMER, "The document states defaults; the reference's document of 1.8 has none."
    ),
    Reason("* .*: nullable true, not null", _FORMER, "Null counts as not sent, in every format."),
    Reason(
        "model error .code: type *", _BOTH, "The code is a number on the wire; the reference's document says otherwise."
    ),
    Reason("model execution .resourceType: enum *", _NEWEST, "There are no sites."),
    Reason("model function .*: ours alone", _FORMER, "Fields added since are shown beside the former ones."),
)


def reason_of(line: str, version: str) -> Reason | None:
    """Return the reason of a difference, or None if there is none."""
    fitting = (one for one in REASONS if version in one.api_versions and _matches(line, one.pattern))
    return next(fitting, None)


def _matches(line: str, pattern: str) -> bool:
    return fnmatchcase(line.replace("[", "("), pattern)
