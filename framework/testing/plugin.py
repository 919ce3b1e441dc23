"""`check_plugin`: reports every problem of a plugin before anyone installs it.

    import acme
    from framework.testing import check_plugin

    def test_the_plugin_is_in_order():
        assert check_plugin(acme) == []

The plugin is checked in a separate Python process. So it does not matter whether it is registered already, nothing
stays registered, and what it imports while it loads can be distinguished from earlier imports.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from framework.util.process import ProcessError, PythonProcess

TIMEOUT = 600.0
"""Seconds; importing a library for training takes ten on a slow disk."""


def check_plugin(module: ModuleType | str) -> list[str]:
    """Return every problem of a plugin, one sentence each; an empty list if there is none.

    Looked at are the hooks and their arguments, the components with their schemas, documentation and names, what is
    imported at load, the factories and whether their products satisfy the protocols, the presets and experiments, and
    settings that nothing reads. Factories are imported and, if every setting has a default, called; then a source loads
    its rows and an exporter exports a tiny model into a temporary folder.

    Args:
        module: the module with the hooks: itself, its import name (`"acme.plugin"`), or a file (`"./acme.py"`). A
            module needs a file: one that was made in memory cannot be checked.
    """
    name, file, *roots = _request(module)
    with PythonProcess() as process:
        try:
            problems: list[str] = process.call("framework.testing.checks.all:check", name, file, roots, seconds=TIMEOUT)
        except ProcessError as error:
            problems = [f"{name}: {error}"]
    return problems


def _request(module: ModuleType | str) -> tuple[str, ...]:
    """Return the name that a module is imported by, its file if that is needed, and where its package lies."""
    if isinstance(module, ModuleType):
        name = module.__spec__.name if module.__spec__ else module.__name__
        file = str(Path(module.__file__).resolve()) if module.__file__ else ""
        return (Path(file).stem if name == "__main__" else name), file
    if not module.endswith(".py"):
        return module, ""
    path = Path(module).expanduser().resolve()
    parts, root = [path.stem], path.parent
    while (root / "__init__.py").exists():
        parts, root = [root.name, *parts], root.parent
    return (path.stem, str(path)) if len(parts) == 1 else (".".join(parts), "", str(root))
