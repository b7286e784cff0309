"""Answers about usage: series of the two usage endpoints, and answers to questions as JSON and as CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from annals.app.edge.answers import Answer as Sent
from annals.app.edge.answers import json_answer
from annals.app.edge.call import Call
from annals.app.wire import wire_date
from annals.projections.usage.answer import Measured, UsageAnswer, UsageGroup
from annals.projections.usage.executions import ExecutionsPage
from annals.projections.usage.question import Question
from annals.projections.usage.series import UsageSeries

_CSV = (b"content-type", b"text/csv; charset=UTF-8")


def present_series(usage: UsageSeries, chosen: str, *, of_one: bool) -> dict[str, Any]:
    """Return a usageFunction for one function, usageFunctions for a project."""
    words = [word for word in usage.totals if not (of_one and word == "functions")]
    answer: dict[str, Any] = {"range": chosen}
    answer |= {f"{word}Total": usage.totals[word] for word in words}
    if of_one:
        answer["buildsTimeAverage"] = usage.builds_time_average
    dates = [wire_date(period) for period in usage.periods]
    for word in words:
        answer[word] = [{"value": value, "date": d} for value, d in zip(usage.series[word], dates, strict=True)]
    return answer


def answered(call: Call, question: Question, answer: UsageAnswer) -> Sent:
    """Return the answer in the requested format."""
    accepted = call.header(b"accept").partition(";")[0].strip()
    if (call.values["format"] or ("csv" if accepted == "text/csv" else "json")) == "csv":
        return Sent(200, as_csv(question, answer), [_CSV])
    return json_answer(present(question, answer))


def present(question: Question, answer: UsageAnswer) -> dict[str, Any]:
    """Return the whole answer; every group has the address that lists its executions."""
    return {
        "from": wire_date(answer.periods[0]),
        "to": wire_date(answer.end),
        "interval": question.interval,
        "timezone": question.zone.key,
        "groupBy": list(question.group_by),
        "measures": list(question.measures),
        "total": _group(question, answer, answer.total, keyed=False),
        "groups": [_group(question, answer, group, keyed=True) for group in answer.groups],
        "other": None if answer.other is None else _group(question, answer, answer.other, keyed=False, listed=False),
    }


def json(question: Question, answer: UsageAnswer) -> str:
    """Return the answer as text on one line."""
    return msgspec.json.encode(present(question, answer)).decode()


def _group(
    question: Question, answer: UsageAnswer, group: UsageGroup, *, keyed: bool, listed: bool = True
) -> dict[str, Any]:
    found: dict[str, Any] = {"key": group.key} if keyed else {}
    found["total"] = group.total
    if group.previous is not None:
        found["previous"] = group.previous
    found["series"] = [
        {"date": wire_date(period), **values, **({"previous": former} if former is not None else {})}
        for period, values, former in _points(answer.periods, group)
    ]
    if listed:
        found["executions"] = _executions(question, answer, group)
    return found


def _points(periods: Sequence[datetime], group: UsageGroup) -> Iterator[tuple[datetime, Measured, Measured | None]]:
    former: Sequence[Measured | None] = group.previous_series or [None] * len(periods)
    return zip(periods, group.series, former, strict=True)


def _executions(question: Question, answer: UsageAnswer, group: UsageGroup) -> str:
    """Return the address that lists the group's executions."""
    filters = [
        f"{name}:{value}" for name, values in question.filters.items() if name not in group.key for value in values
    ]
    filters += [f"{name}:{value}" for name, value in group.key.items()]
    sent = [
        ("from", wire_date(answer.periods[0])),
        ("to", wire_date(answer.end)),
        ("timezone", question.zone.key),
        *(("filters[]", value) for value in filters),
    ]
    return f"/v1/usage/executions?{urlencode(sent)}"


def as_csv(question: Question, answer: UsageAnswer) -> bytes:
    """Return a line for each period of each group. The other groups are one, with the keys `*`."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    former = [f"previous_{measure}" for measure in question.measures] if question.compared else []
    lines.writerow(["date", *question.group_by, *question.measures, *former])
    groups = [*answer.groups, *([answer.other] if answer.other else [])] if question.group_by else [answer.total]
    for group in groups:
        key = [_safe(group.key.get(dimension, "*")) for dimension in question.group_by]
        for period, values, previous in _points(answer.periods, group):
            lines.writerow([wire_date(period), *key, *values.values(), *(previous or {}).values()])
    return text.getvalue().encode()


def _safe(value: str | int) -> str | int:
    """Quote a key that a spreadsheet would read as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@"} else value


def present_executions(page: ExecutionsPage) -> dict[str, Any]:
    """Return executions in the order of their ends; `cursor` is the parameter for the next page."""
    return {
        "cursor": page.cursor,
        "executions": [
            {
                "$id": ended.execution_id,
                "functionId": ended.function,
                "deploymentId": ended.deployment,
                "trigger": ended.trigger,
                "status": ended.status,
                "reason": ended.reason,
                "specification": ended.specification,
                "endedAt": wire_date(ended.ended_at),
                "position": ended.position,
                "duration": ended.duration,
                "queueTime": ended.queue_time,
                "coldStart": ended.cold,
            }
            for ended in page.executions
        ],
    }
