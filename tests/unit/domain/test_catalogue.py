"""The offered sizes, and the default size of new functions."""

import pytest

from annals.domain.catalogue import allowed_specifications, default_specification


@pytest.mark.parametrize(("most_memory", "slug"), [(0, "s-8vcpu-8gb"), (1024, "s-1vcpu-1gb"), (100, "s-0.5vcpu-512mb")])
def test_default_size_is_the_last_offered_or_the_smallest(most_memory: int, slug: str) -> None:
    assert default_specification(allowed_specifications(most_memory=most_memory)).slug == slug
