"""What only POSIX has is not on the path of a run in one process: read from the source, since no Windows is here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support import sources

ROOT = Path(__file__).parents[2]
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"}
NAMES = {
    "os": {
        "WIFEXITED", "WNOHANG", "chown", "fchmod", "fork", "forkpty", "geteuid", "getgid", "getloadavg", "getpgid",
        "getuid", "killpg", "mkfifo", "nice", "pread", "pwrite", "sched_getaffinity", "setpgid", "setsid", "statvfs",
        "sysconf", "wait", "waitpid",
    },
    "signal": {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGXCPU", "alarm", "pthread_sigmask"},
}  # fmt: skip
ELSEWHERE = {
    "framework/run/interruption.py": "behind hasattr(os, 'register_at_fork')",
    "framework/sweep/gpu.py": "several trials of a sweep at a time",
    "plugins/framework_plugins/lib/host.py": "behind hasattr",
    "framework/util/lock.py": "private_folder, for several trials of a sweep",
    "plugins/framework_plugins/hf/machine/allocator.py": "behind sys.platform == 'linux'",
    "plugins/framework_plugins/hf/machine/hardware.py": "behind sys.platform == 'win32'",
    "plugins/framework_plugins/hf/tokens/template_limits.py": "behind hasattr(os, 'fork')",
    "plugins/framework_plugins/launch/child_process.py": "several processes: launch=subprocess",
    "plugins/framework_plugins/launch/agent.py": "several processes",
    "plugins/framework_plugins/launch/ended.py": "several processes",
    "plugins/framework_plugins/launch/helper.py": "several processes",
    "plugins/framework_plugins/launch/job.py": "the process of a job of Slurm or Ray",
    "plugins/framework_plugins/launch/launcher.py": "several processes",
    "plugins/framework_plugins/launch/slurm.py": "jobs of Slurm",
    "plugins/framework_plugins/launch/worker.py": "several processes",
}
"""Where such a name is not reached on Windows by a run in one process, and why."""


def found(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names if name.name in MODULES)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module for _ in names if module in MODULES)
                yield from (name.name for name in names if name.name in NAMES.get(module, ()))
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NAMES.get(module, ()):
                yield f"{module}.{name}"


FILES = [*ROOT.glob("framework/**/*.py"), *ROOT.glob("plugins/**/*.py")]


def test_a_run_in_one_process_calls_nothing_that_only_posix_has() -> None:
    names = {str(file.relative_to(ROOT)): set(found(sources.tree(file))) for file in FILES}
    used = {file: own for file, own in names.items() if own}
    assert {file: own for file, own in used.items() if file not in ELSEWHERE} == {}
    assert used.keys() == ELSEWHERE.keys(), "such a file no longer uses one: take it out of ELSEWHERE"


def test_the_check_finds_such_names() -> None:
    source = "import resource\nfrom os import fork\nimport os\nos.getuid()\nos.path.join('a')\n"
    assert list(found(ast.parse(source))) == ["resource", "fork", "os.getuid"]
