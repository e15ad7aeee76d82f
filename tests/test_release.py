"""What make matrix says about an environment."""

from __future__ import annotations

import pytest

from release.matrix import not_oldest


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"torch": "2.6.0", "numpy": "2.0.2", "python": "3.11.7"}, None),
        ({"torch": "2.6.0+cpu", "numpy": "2.0.0"}, None),
        ({"torch": "2.14.1", "numpy": "2.0.2"}, "torch is 2.14.1, not 2.6"),
        ({"torch": "2.6.0", "numpy": "2.1.0"}, "numpy is 2.1.0, not 2.0"),
    ],
)
def test_an_environment_of_the_oldest_packages_has_the_lower_end_of_each_range(
    found: dict[str, str], said: str | None
) -> None:
    assert not_oldest(found) == said
