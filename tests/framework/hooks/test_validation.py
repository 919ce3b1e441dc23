"""What a plugin registers, looked at before anything of it is imported."""

from dataclasses import dataclass

import pytest

from framework.api.component import Component
from framework.api.schema import MetricConfig
from framework.hooks.validation import missing_factory


@dataclass
class Settings(MetricConfig):
    """Of a metric."""


PLACE = "framework_plugins.evals.metrics.exact_match"


@pytest.mark.parametrize(
    ("factory", "extra", "told"),
    [
        (f"{PLACE}:ExactMatch", "", ""),
        (f"{PLACE}:ExactMach", "", f"'{PLACE}' has no 'ExactMach'. Did you mean 'ExactMatch'?"),
        (f"{PLACE}_gone:ExactMatch", "", f"there is no module '{PLACE}_gone'"),
        ("gone_library:Metric", "", "there is no module 'gone_library'"),
        ("gone_library:Metric", "gone>=1", ""),  # loading it says how to install it
        ("gone_library.inner:Metric", "", ""),
        ("framework.hooks.validation:missing_factory", "", ""),
        (f"{__name__}:Setting", "", f"'{__name__}' has no 'Setting'. Did you mean 'Settings'?"),
    ],
)
def test_a_factory_that_does_not_exist_is_named_with_its_group(factory: str, extra: str, told: str) -> None:
    found = missing_factory(Component("polite", Settings, factory, extra))
    assert found == (f"metric 'polite' cannot be loaded from {factory}: {told}" if told else "")
