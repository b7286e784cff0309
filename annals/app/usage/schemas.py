"""The wire models of usage: totals over all time, and series over a range."""

from typing import Any

from annals.app.wire import wire_date
from annals.projections.usage.series import UsageSeries


def present(usage: UsageSeries, chosen: str, *, of_one: bool) -> dict[str, Any]:
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
