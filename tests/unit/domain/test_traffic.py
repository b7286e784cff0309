"""Shares of a function's calls: they have their size, and only the execution's id decides."""

from hypothesis import given, settings
from hypothesis import strategies as st

from annals.domain.policy import Policy, Share

CALLS = 4000
DEVIATIONS = 5


@st.composite
def shares(draw: st.DrawFn) -> list[Share]:
    """Return shares of a hundred percent at most."""
    percents = draw(st.lists(st.integers(1, 100), max_size=10).filter(lambda given: sum(given) <= 100))
    return [Share(deployment_id=f"d{number}", percent=percent) for number, percent in enumerate(percents)]


@settings(max_examples=40, deadline=None)
@given(shares(), st.text("abcdef0123456789", min_size=4, max_size=12))
def test_every_deployment_gets_its_share_and_the_active_one_the_rest(traffic: list[Share], prefix: str) -> None:
    policy = Policy(traffic=traffic)
    chosen = [policy.share_of(f"{prefix}{number}") for number in range(CALLS)]

    wanted = {share.deployment_id: share.percent for share in traffic}
    wanted[""] = 100 - sum(wanted.values())
    assert set(chosen) <= {name for name, percent in wanted.items() if percent}
    for name, percent in wanted.items():
        part = percent / 100
        spread = (CALLS * part * (1 - part)) ** 0.5
        assert abs(chosen.count(name) - CALLS * part) <= DEVIATIONS * spread


@settings(max_examples=40, deadline=None)
@given(shares(), st.text(min_size=1, max_size=36))
def test_share_of_an_execution_never_changes(traffic: list[Share], execution_id: str) -> None:
    again = Policy(traffic=[Share(deployment_id=share.deployment_id, percent=share.percent) for share in traffic])

    assert Policy(traffic=traffic).share_of(execution_id) == again.share_of(execution_id)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 99), st.integers(1, 100), st.text(min_size=1, max_size=36))
def test_growing_share_keeps_its_calls(one: int, other: int, execution_id: str) -> None:
    small, large = sorted((one, other))
    before = Policy(traffic=[Share(deployment_id="d", percent=small)]).share_of(execution_id)
    after = Policy(traffic=[Share(deployment_id="d", percent=large)]).share_of(execution_id)

    assert not before or after == "d"
