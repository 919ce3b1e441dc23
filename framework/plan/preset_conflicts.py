"""Says which values of a preset did not come to be: an experiment that sets the same key wins over it.

That is Hydra's order, and right for an experiment that changes what it is built on. But who writes `trainer=patient`
beside an experiment means the preset whole, so each overruled value is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from framework.api.component import GROUPS
from framework.api.fields import as_text
from framework.config.compose import config_loader
from framework.config.sources import read_value_sources


def overruled(words: Sequence[str]) -> Iterator[str]:
    """Give a sentence for each value of a preset, chosen by a word, that a file overrules."""
    with config_loader() as loader:
        known = read_value_sources(loader, words)
    for group, word in known.choices.items():
        if group not in GROUPS or word not in words:
            continue
        own = {setting.key: setting for setting in known.settings if setting.preset == group}
        for name, setting in own.items():
            last = next(each for each in reversed(known.settings) if each.key == name)
            if last.value != setting.value and last.where not in words:
                yield (
                    f"{word}: {last.where} sets {name}={as_text(last.value)}, which overrides "
                    f"{as_text(setting.value)} of the preset: to use that, add {name}={as_text(setting.value)}"
                )
