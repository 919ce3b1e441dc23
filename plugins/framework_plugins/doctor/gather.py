"""Runs all checks concurrently: the core's, and the plugins' from `framework_diagnostics`."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from pathlib import Path
from typing import Any

from framework import Plan
from framework.api import Caught, Diagnostic, DiagnosticResult, counting, plugins, redact
from framework_plugins.doctor import DiagnosticRecord, checked
from framework_plugins.doctor.machine import broken_plugins, libraries, machine
from framework_plugins.doctor.run import run
from framework_plugins.doctor.worker import DiagnosticProcess

MAX_PROCESSES = 4
"""Processes side by side: some wait for a network or a program, and a large library takes 300 MB."""
POLL_SECONDS = 0.5
"""Seconds between two looks at how many checks are complete."""
Registered = tuple[str, Diagnostic]


class DiagnosticRun:
    """All checks, for one plan or without one."""

    def __init__(self, plan: Plan | None, files: Sequence[str] = ()) -> None:
        self.plan = plan
        self.files = files
        self.cancelled = threading.Event()
        self._done: list[str] = []
        """Checks that are complete, in whichever thread."""

    def records(self, diagnostics: Sequence[Registered]) -> list[DiagnosticRecord]:
        """Look at everything, the `diagnostics` of plugins too, and return what was found without secrets."""
        outputs = self.plan.run_dir if self.plan else Path("outputs")
        with ThreadPoolExecutor(MAX_PROCESSES) as pool, counting(len(diagnostics), "check", "this machine") as counter:
            try:
                # Each thread has the session of this one, which knows the plugins.
                groups = _by_process(diagnostics)
                shared = [group for group in groups if any(self._shares_libraries(check) for _, check in group)]
                of_run = pool.submit(copy_context().run, self._run, shared)
                of_plugins = [
                    pool.submit(copy_context().run, self._group, group) for group in groups if group not in shared
                ]
                of_machine = [*machine(outputs), *libraries()]
                waiting: list[Future[Any]] = [of_run, *of_plugins]
                while (state := wait(waiting, timeout=POLL_SECONDS)).not_done:
                    counter.move(len(self._done))
                    if any(future.exception() for future in state.done):
                        break
                of_this_run, of_others = of_run.result()
                of_others += [record for future in of_plugins for record in future.result()]
            except BaseException:
                self.cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [
            without_secrets(record)
            for record in (*of_machine, *_sort_records(of_others, diagnostics), *broken_plugins(), *of_this_run)
        ]

    def _shares_libraries(self, diagnostic: Diagnostic) -> bool:
        """Whether the package of the trainer has a check, whose libraries the run imports."""
        return self.plan is not None and _package(diagnostic.check) == _package(self.plan.trainer.component.factory)

    def _run(self, shared: Iterable[Sequence[Registered]]) -> tuple[list[DiagnosticRecord], list[DiagnosticRecord]]:
        """Look at this run, and then at what shares its libraries, which take most of the time to import."""
        records, of_plugins = [], []
        with DiagnosticProcess(self.files) as worker:
            for record in run(self.plan, worker) if self.plan else ():
                records.append(record)
                if self.cancelled.is_set():
                    break
            for group in shared:
                of_plugins += self._ask(worker, group)
        return records, of_plugins

    def _group(self, group: Iterable[Registered]) -> list[DiagnosticRecord]:
        """Look at what shares a process."""
        with DiagnosticProcess(self.files) as worker:
            return self._ask(worker, group)

    def _ask(self, worker: DiagnosticProcess, group: Iterable[Registered]) -> list[DiagnosticRecord]:
        records = []
        for plugin, diagnostic in group:
            start = time.perf_counter()
            self._done.append(diagnostic.name)
            answer = (
                None if self.cancelled.is_set() else worker.ask(diagnostic.check, self.plan, seconds=diagnostic.seconds)
            )
            if answer is not None:
                seconds = time.perf_counter() - start
                records.append(self._record(plugin, diagnostic, answer, seconds))
        return records

    def _record(
        self, plugin: str, diagnostic: Diagnostic, answer: DiagnosticResult, seconds: float
    ) -> DiagnosticRecord:
        needed = False
        if self.plan is not None:
            failed = Caught()
            with failed:
                needed = bool(diagnostic.needed(self.plan))
            if failed.error:  # it is named, and the other results are reported
                plugins().skip_plugin(plugin, f"needed of the diagnostic '{diagnostic.name}'", failed.error)
        return checked(diagnostic.name, diagnostic.topic, answer, needed=needed, plugin=plugin, seconds=seconds)


def registered() -> Iterator[Registered]:
    """Give the diagnostics of all plugins, each with the name of its plugin."""
    diagnostic: Any  # `Diagnostic.problem_of` says what else it is
    for plugin, diagnostic in plugins().ask("framework_diagnostics", object):
        if reason := Diagnostic.problem_of(diagnostic):
            plugins().skip_plugin(plugin, f"diagnostic '{getattr(diagnostic, 'name', diagnostic)}'", reason)
        else:
            yield plugin.partition(":")[0], diagnostic


def _by_process(diagnostics: Sequence[Registered]) -> list[list[Registered]]:
    """Put together what shares a process."""
    groups: dict[str | int, list[Registered]] = {}
    for position, (plugin, diagnostic) in enumerate(diagnostics):
        groups.setdefault(diagnostic.process or position, []).append((plugin, diagnostic))
    return list(groups.values())


def _package(function_path: str) -> str:
    """Return the package of a plugin that `"package.module:function"` is in."""
    return ".".join(function_path.partition(":")[0].split(".")[:2])


def _sort_records(records: Sequence[DiagnosticRecord], diagnostics: Sequence[Registered]) -> list[DiagnosticRecord]:
    """Put records in the order in which they were given, those of one topic together."""
    topics = list(dict.fromkeys(diagnostic.topic for _, diagnostic in diagnostics))
    positions = {
        (plugin, diagnostic.topic, diagnostic.name): position
        for position, (plugin, diagnostic) in enumerate(diagnostics)
    }
    return sorted(
        records, key=lambda record: (topics.index(record.topic), positions[record.plugin, record.topic, record.name])
    )


def without_secrets(record: DiagnosticRecord) -> DiagnosticRecord:
    """Return a record with what looks like a secret hidden: a library may print one in an error."""
    version, detail, fix = (str(redact(text)) for text in (record.version, record.detail, record.fix))
    return dataclasses.replace(record, version=version, detail=detail, fix=fix)
