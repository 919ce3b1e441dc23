"""The plugin manager: loads plugins and collects what they register.

Plugins are found in the entry-point group `framework` and in the files that the user names (`local_file.py`), nowhere
else. A fault of a plugin is reported with its name and the way to switch it off, and the program continues: each hook
is called plugin by plugin, since pluggy itself stops at the first that raises.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

import pluggy
from omegaconf import DictConfig, OmegaConf

from framework.api.component import ALL_GROUPS, COMMANDS, GROUPS, Component, Group, groups_of
from framework.api.selection import Selection
from framework.hooks import hookspecs
from framework.hooks.decorated import Decorated, clashes, collect
from framework.hooks.rewards import as_reward
from framework.hooks.validation import COMPONENTS, label, wrong_component, wrong_hooks
from framework.util.errors import (
    DISABLE,
    FrameworkError,
    describe_error,
    error_location,
    of_the_system,
    summarize_error,
)
from framework.util.guard import Caught
from framework.util.versions import DISTRIBUTION

T = TypeVar("T")

WHOLE_PLUGIN = "the plugin"
"""`SkippedPlugin.what` if nothing of a plugin is used."""
METRICS, REWARDS = "metric", "reward"
"""Each option of the first group is one of the second too."""
DEFAULT_PLUGINS = {
    "core": "framework.cli.commands",
    "core.data": "framework.data.checks",
    "core.monitor": "framework.monitor.checks",
    "journal": "framework.rundir.status",
}
"""The core's own plugins by name: modules, as text, because they are in rooms above this one. Only `journal` can be
switched off."""


@dataclass(frozen=True)
class Registration:
    """One option, the plugin that registers it, and where that plugin comes from: `acme 1.2`, or a file."""

    component: Component
    plugin: str
    package: str


@dataclass(frozen=True)
class SkippedPlugin:
    """A plugin, or a part of one, that is not used: `what` it is, the `reason`, and the `package` it comes from."""

    plugin: str
    what: str
    reason: str
    package: str


class Plugins:
    """The plugins of a session: what they register, and their hooks. They are loaded when they are first asked."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        """The files of `plugins=[…]`, as they were typed: the working folder may change after that."""
        self._packages: dict[str, str] = {}
        self._skipped: dict[tuple[str, str], SkippedPlugin] = {}
        self._components: tuple[tuple[pluggy.HookImpl, ...], dict[str, list[tuple[str, Component]]]] = ((), {})
        self._registered: dict[str, dict[str, Registration]] = {}
        """What `registrations` returned for each group: a config asks thousands of times."""

    @functools.cached_property
    def manager(self) -> pluggy.PluginManager:
        """Pluggy's manager with every installed plugin, the core's own hooks included."""
        plugins = pluggy.PluginManager("framework")
        plugins.add_hookspecs(hookspecs)
        for name, module in DEFAULT_PLUGINS.items():
            if name.startswith("core") or name not in disabled():
                plugins.register(importlib.import_module(module), name=name)
        # A loop of our own: in pluggy's, one broken plugin ends `--help` in a traceback (decision 0003).
        # Of two plugins with one name the first is taken: ours, else the one whose distribution comes first.
        for entry in sorted(entry_points(group="framework"), key=lambda entry: (entry.name, *_distribution(entry))):
            # Before it is imported: a plugin may be switched off because its import fails.
            if entry.name in disabled():
                continue
            if plugins.has_plugin(entry.name):
                self._skip_second(entry)
            else:
                self._load(plugins, entry)
        return plugins

    def implementations(self, hook: str) -> tuple[pluggy.HookImpl, ...]:
        """Return the functions that implement a hook, in the order in which they are called."""
        return tuple(getattr(self.manager.hook, hook).get_hookimpls())

    def skipped_plugins(self) -> list[SkippedPlugin]:
        """Return the plugins, and the parts of plugins, that are not used because they are broken."""
        return list(self._skipped.values())

    def package(self, plugin: str) -> str:
        """Return where a plugin comes from: its distribution with the version, or its file."""
        return self._packages.get(plugin, "")

    def add(self, module: object, *, name: str, package: str = "") -> None:
        """Register a module, or an object with hooks, as a plugin.

        Raises:
            FrameworkError: a hook is none of ours, or is not written as it is called.
            ValueError: of pluggy, if the name is taken.
        """
        self._add(self.manager, module, name, package)

    def _add(self, plugins: pluggy.PluginManager, module: object, name: str, package: str) -> None:
        if problems := [*wrong_hooks(module, plugins), *clashes(module)]:
            raise FrameworkError("; ".join(problems))
        plugins.register(module, name=name)
        # A plugin of its own, since the module may implement the hook that registers them itself.
        functions = f"{name}:functions"
        if components := collect(module):
            plugins.register(Decorated(components), name=functions)
        self._packages[name] = self._packages[functions] = package

    def _load(self, plugins: pluggy.PluginManager, entry: EntryPoint) -> None:
        package = _package_of(entry)
        failed = Caught()
        with failed:
            self._add(plugins, entry.load(), entry.name, package)
        if failed.error:  # a third-party module; it is named and left out
            self._packages[entry.name] = package
            self.skip_plugin(entry.name, WHOLE_PLUGIN, failed.error)

    def _skip_second(self, entry: EntryPoint) -> None:
        """Say that a plugin cannot have a name that is taken; switching that name off would switch off both."""
        reason = f"{self.package(entry.name) or 'the framework itself'} already has a plugin of that name"
        skipped = SkippedPlugin(entry.name, WHOLE_PLUGIN, reason, _package_of(entry))
        way_out = f"Rename its entry point, '{entry.name} = {entry.value}', or uninstall it"
        self._note((entry.name, skipped.package), skipped, way_out)

    def skip_plugin(self, plugin: str, part: str, error: BaseException | str) -> None:
        """Mark a part of a plugin as not used, and report it once."""
        name = plugin.partition(":")[0]
        reason = error if isinstance(error, str) else describe_error(error)
        self._note((name, part), SkippedPlugin(name, part, reason, self.package(name)), self._way_out(name))

    def _note(self, key: tuple[str, str], skipped: SkippedPlugin, way_out: str) -> None:
        # Hooks are asked many times in a run.
        if key in self._skipped:
            return
        self._skipped[key] = skipped
        self._registered.clear()
        origin = f" of {skipped.package}" if skipped.package else ""
        part = "" if skipped.what == WHOLE_PLUGIN else f": {skipped.what}"
        text = f"plugin '{skipped.plugin}'{origin}{part} is skipped: {skipped.reason.removesuffix('.')}. {way_out}"
        print(text, file=sys.stderr)

    def _way_out(self, plugin: str, pronoun: str = "it") -> str:
        """Say how to do without a plugin: a file is named on the command line."""
        if Path(self.package(plugin)).is_absolute():
            return f"Leave {pronoun} out of plugins=[…]"
        return f"Switch {pronoun} off: {DISABLE}={plugin}"

    def registrations(self, group: Group | str) -> dict[str, Registration]:
        """Return the options of a group by name, in the order of the names, each with its plugin.

        Raises:
            FrameworkError: one name is registered twice.
        """
        name = group if isinstance(group, str) else group.name
        by_group = self._components_by_group()
        if name in self._registered:
            return dict(self._registered[name])
        registrations: dict[str, Registration] = {}
        schemas: dict[type, str] = {}
        # Ours come first, so that of two with one name the message blames the other.
        for plugin, component in sorted(self._options(name, by_group), key=lambda pair: self._is_foreign(pair[0])):
            option, owner = label(component), plugin.partition(":")[0]
            if component.name in registrations:
                raise FrameworkError(self._duplicate_message(option, registrations[component.name].plugin, owner))
            # The class of a config's settings is all that says which option it is.
            if component.schema in schemas:
                earlier_option = schemas[component.schema]
                reason = f"{earlier_option} has the same schema: subclass it, because the class identifies the option"
                self.skip_plugin(plugin, option, reason)
                continue
            schemas[component.schema] = f"{option} of {self._named(owner)}"
            if (owner, option) not in self._skipped:
                registrations[component.name] = Registration(component, owner, self.package(owner))
        self._registered[name] = dict(sorted(registrations.items()))
        return dict(self._registered[name])

    def _options(self, group: str, by_group: Mapping[str, list[tuple[str, Component]]]) -> list[tuple[str, Component]]:
        """Return the components of a group, each with its plugin; in the group of rewards, metrics are included."""
        metrics = self.registrations(METRICS).values() if group == REWARDS else ()
        return [
            *by_group[group],
            *((registration.plugin, as_reward(registration.component)) for registration in metrics),
        ]

    def _components_by_group(self) -> dict[str, list[tuple[str, Component]]]:
        """Return the components of all plugins by group, each with its plugin; invalid ones are left out.

        The result is cached until a plugin is added or removed.
        """
        implementations = self.implementations(COMPONENTS)
        if self._components[0] == implementations:
            return self._components[1]
        by_group: dict[str, list[tuple[str, Component]]] = {name: [] for name in ALL_GROUPS}
        component: Any  # `wrong_component` says what else it is
        for plugin, component in self.ask(COMPONENTS, object):
            if reason := wrong_component(component):
                self.skip_plugin(plugin, label(component), reason)
                continue
            (group,) = groups_of(component.schema)
            by_group[group.name].append((plugin, component))
        self._components = implementations, by_group
        self._registered.clear()
        return by_group

    def _is_foreign(self, plugin: str) -> bool:
        """Whether a plugin is from another distribution; in a conflict with ours, the message blames that one."""
        return self.package(plugin).partition(" ")[0] not in {"", DISTRIBUTION}

    def _duplicate_message(self, option: str, first_plugin: str, second_plugin: str) -> str:
        if first_plugin == second_plugin:
            twice = f"{option} is registered twice by the plugin {self._named(first_plugin)}"
            return f"{twice}: rename one of them. {self._way_out(first_plugin)}"
        named = " and ".join(map(self._named, sorted([first_plugin, second_plugin])))
        return f"{option} is registered by two plugins, {named}. {self._way_out(second_plugin, 'one')}"

    def _named(self, plugin: str) -> str:
        return f"'{plugin}' ({self.package(plugin)})" if self.package(plugin) else f"'{plugin}'"

    def components(self, group: Group | str) -> dict[str, Component]:
        """Return the options of a group by name, in the order of the names.

        Raises:
            FrameworkError: one name is registered twice.
        """
        return {name: registration.component for name, registration in self.registrations(group).items()}

    def every_option(self) -> Iterator[tuple[str, Component]]:
        """Yield each option of the groups that a config chooses from, with its group."""
        return ((group, component) for group in GROUPS for component in self.components(group).values())

    def component_of(self, schema: type | None) -> Component | None:
        """Return the option of a config group whose settings are of this class; None if there is none."""
        groups = [group for group in GROUPS.values() if isinstance(schema, type) and issubclass(schema, group.base)]
        return next(
            (
                component
                for group in groups
                for component in self.components(group).values()
                if component.schema is schema
            ),
            None,
        )

    def selection_of(self, node: DictConfig) -> Selection:
        """Return the option that a part of a composed config chooses, with its settings.

        Raises:
            FrameworkError: no plugin registers the class of the settings, or that class refuses what is set.
        """
        component = self.component_of(OmegaConf.get_type(node))
        if component is None:
            raise FrameworkError(f"no plugin registers an option with the settings {OmegaConf.get_type(node)}")
        failed = Caught()
        with failed:
            return Selection(component, OmegaConf.to_object(node))
        error = failed.error
        assert error is not None  # noqa: S101 - of the dataclass itself: a __post_init__ that refuses
        raise FrameworkError(
            f"the settings of '{component.name}' are refused: {summarize_error(error)}{error_location(error)}"
        ) from error

    def commands(self) -> dict[str, Component]:
        """Return the commands by name."""
        return self.components(COMMANDS)

    def ask(self, hook: str, *expect: type[T], **arguments: Any) -> Iterator[tuple[str, T]]:
        """Call a hook of every plugin and give what each returns, item by item, with the plugin's name.

        A text is one item. An item that is not what is expected is passed over, and so is a plugin that raises; both
        are named. Pluggy itself would stop at an error. `FrameworkError` is for the caller, but not of the hook that
        registers: then nothing would start, not even a command that another plugin brings.

        Args:
            hook: its name.
            expect: the classes that an item may have.
            **arguments: of the hook.
        """
        # One by one: pluggy stops a call of the whole hook at the first that raises, and does not say which it was.
        for implementation in self.implementations(hook):
            items: list[Any] = []
            failed = Caught(*([] if hook == COMPONENTS else [FrameworkError]))
            with failed:
                result = _call(implementation, arguments)
                items = [] if result is None else [result]
                if isinstance(result, Iterable) and not isinstance(result, str):
                    items = list(result)
            if error := failed.error:
                if limit := of_the_system(error):  # of a path that a config names
                    raise limit from error
                if implementation.plugin_name.startswith("core"):  # a fault of ours, which nobody can switch off
                    raise error
                self.skip_plugin(implementation.plugin_name, hook, error)  # third-party code; it is named and left out
                continue
            for item in items:
                if isinstance(item, expect):
                    yield implementation.plugin_name, item
                    continue
                expected = " or ".join("text" if kind is str else kind.__name__ for kind in expect)
                self.skip_plugin(implementation.plugin_name, hook, f"it gives {type(item).__name__}, not {expected}")

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call a hook of every plugin for its effect; a plugin that raises is reported, and the run continues."""
        for implementation in self.implementations(hook):
            failed = Caught()
            with failed:
                _call(implementation, arguments)
            if failed.error:
                self.skip_plugin(implementation.plugin_name, hook, failed.error)


def disabled() -> set[str]:
    """Return the names of the plugins that the user has switched off."""
    return {name for word in os.environ.get(DISABLE, "").split(",") if (name := word.strip())}


def _distribution(entry: EntryPoint) -> tuple[bool, str]:
    name = _named(entry.dist)[0] if entry.dist else ""
    # False sorts first, so of two plugins with one name ours is loaded.
    return name != DISTRIBUTION, name


def _package_of(entry: EntryPoint) -> str:
    return " ".join(filter(None, _named(entry.dist))) if entry.dist else ""


@functools.cache  # a distribution has many plugins, and each access to its name or version parses a file
def _named(distribution: Distribution) -> tuple[str, str]:
    # A folder that an uninstallation left behind has entry points and neither; the types deny that.
    metadata: Any = distribution.metadata
    name, version = metadata.get("Name"), metadata.get("Version")
    return str(name or getattr(distribution, "_path", "")), str(version or "")


def _call(implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    # As pluggy does: a hook takes only the arguments that it names.
    return implementation.function(*(arguments[name] for name in implementation.argnames))
