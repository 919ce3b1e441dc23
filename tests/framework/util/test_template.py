"""framework/util/template: copies are equal, own nothing together, and keep their classes."""

from dataclasses import dataclass, field

from omegaconf import OmegaConf

from framework.util.template import Template


def test_a_copy_is_equal_and_another_and_has_the_same_class_whatever_its_name_means_now() -> None:
    @dataclass
    class Settings:
        rate: float = 0.5
        names: dict[str, int] = field(default_factory=dict)

    node = OmegaConf.structured(Settings)
    template = Template(node)
    first, second = template.copy(), template.copy()
    first.rate = 2.0
    assert second == node
    assert OmegaConf.get_type(first) is Settings
    assert isinstance(OmegaConf.to_object(second), Settings)
