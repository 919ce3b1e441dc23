"""The names of a plugin's options: whether they can be written, and whether another plugin has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from types import ModuleType

from framework.api.component import COMMANDS, Group
from framework.hooks.manager import Registration
from framework.hooks.session import current
from framework.testing.checks.hooks import PATHS, Offer
from framework.util.errors import DISABLE, FrameworkError

WORDS = {"null", "true", "false", "nan", "inf"}
"""What the command line reads as a value of another type than text."""


class Others:
    """What the other plugins that are installed register; the checked one is removed first."""

    def __init__(self, module: ModuleType) -> None:
        plugins = current().plugins.manager
        self.own = {name for name, plugin in plugins.list_name_plugin() if plugin is module}
        for name, _ in plugins.list_name_plugin():
            if name.partition(":")[0] in self.own:
                plugins.unregister(name=name)
        self.broken = ""

    def of(self, group: Group) -> dict[str, Registration]:
        """Return the options of a group."""
        try:
            return current().plugins.registrations(group)
        except FrameworkError as error:
            self.broken = str(error)
            return {}

    def paths(self) -> list[tuple[str, str]]:
        """Return the config folders with the names of their plugins."""
        hooks = getattr(current().plugins.manager.hook, PATHS).get_hookimpls()
        return [(hook.plugin_name, path) for hook in hooks for path in hook.function()]


def problems(offers: Sequence[Offer], other_plugins: Others, plugin: str) -> Iterator[str]:
    """Look at each name."""
    names: set[tuple[str, str]] = set()
    for offer in offers:
        name, group = offer.component.name, offer.group
        # A command is not a key of a config, so its name may have hyphens too.
        if not re.fullmatch(r"[A-Za-z_][\w-]*" if group is COMMANDS else r"[A-Za-z_]\w*", name):
            yield f"{offer}: a name is made of letters, digits and underscores"
        elif name.lower() in WORDS:
            yield f"{offer}: Hydra does not take this word for a name: give it another"
        if (group.name, name) in names:
            yield f"{offer} is registered twice by {plugin}: give one another name"
            continue
        names.add((group.name, name))
        if rival := other_plugins.of(group).get(name):
            rival_label = f"'{rival.plugin}' ({rival.package})" if rival.package else f"'{rival.plugin}'"
            yield (
                f"{offer} is registered by two plugins, '{plugin}' and {rival_label}: give it another name, "
                f"or switch the other plugin off: {DISABLE}={rival.plugin}"
            )
        for registration in other_plugins.of(group).values():
            if registration.component.schema is offer.component.schema:
                yield (
                    f"{offer} and {group.name} '{registration.component.name}' of the plugin '{registration.plugin}' "
                    f"share the schema {offer.component.schema.__name__}: subclass it"
                )
    if other_plugins.broken:
        yield f"other plugins that are installed contradict each other: {other_plugins.broken}"


def first_of_each(offers: Sequence[Offer], other_plugins: Others) -> list[Offer]:
    """Return the components that can be registered together: the first of each name that is free."""
    free = {
        (offer.group.name, offer.component.name): offer
        for offer in reversed(offers)
        if offer.component.name not in other_plugins.of(offer.group)
    }
    return list(free.values())
