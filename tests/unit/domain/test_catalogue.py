"""Which sizes are offered, and which one new functions have."""

import pytest

from annals.domain.catalogue import allowed_specifications, default_specification


@pytest.mark.parametrize(("most_memory", "slug"), [(0, "s-8vcpu-8gb"), (1024, "s-1vcpu-1gb"), (100, "s-0.5vcpu-512mb")])
def test_new_functions_get_the_last_size_offered_and_the_smallest_where_none_is(most_memory: int, slug: str) -> None:
    assert default_specification(allowed_specifications(most_memory=most_memory)).slug == slug
