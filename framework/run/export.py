"""The export stage: runs the exporters, and reuses what an earlier export made of the same weights.

An exporter that fails does not end the run: the others run, the report is written, and the error comes at the end.
A push that failed without a network must not cost an hour of merging and quantizing. So `export.json` says of each
exporter what it made, of which weights, and with which settings; sizes on the disk say whether it is still there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, BinaryIO, cast

from framework.api.protocols import ExportContext, Exporter, Model
from framework.api.records import Artifact, ExportResult, Origin
from framework.api.schema import Affects
from framework.api.selection import Selection, as_plain
from framework.hooks.session import current
from framework.run.interruption import export_command
from framework.util.errors import DoesNotFitError, FrameworkError, PrunedError, describe_error
from framework.util.guard import Caught, short_repr
from framework.util.hashing import key_of
from framework.util.redact import redact

HASHED_BYTES = 2**26
"""Bytes of a file that is hashed from end to end; of a larger one, this many are sampled from all over it."""
BLOCK_BYTES = 2**20
KEPT_NOTE = "kept from an earlier export of the same weights with the same settings"


def export(
    model: Model, exporters: Mapping[str, Exporter], context: ExportContext, earlier: ExportResult | None
) -> Iterator[ExportResult]:
    """Run the exporters, each after those whose artifacts it uses; give what there is before each of them, and at last.

    One that fails is noted, and so are those that use its artifacts; the others run.

    What an earlier export left of the same weights is there to be used, and one that is costly is not made again.

    Args:
        model: the trained model.
        exporters: by name.
        context: what they are given of the run; the artifacts in it are those of the moment.
        earlier: what an earlier export left; None if there was none.

    Raises:
        ExportError: after the last result, if an exporter failed; caused by the first error.
    """
    plan = context.plan
    run = plan.affecting(Affects.exports)
    keys = {name: settings(run, plan.exporter.get(name)) for name in exporters}
    exports = Exports(context.run_dir, fingerprint(context.checkpoint), keys, earlier)
    rerun: set[str] = set()
    errors: list[BaseException] = []
    counts = current().progress
    for index, name in enumerate(in_order(exporters), start=1):
        exporter = exporters[name]
        needed = {*exporter.after}
        if lost := [dependency for dependency in exports.failed if dependency in needed]:
            exports.failed[name] = f"not made, because {' and '.join(lost)} failed"
            continue
        # What it made of another's artifacts is out of date when those are new, whatever its own settings are.
        outdated = rerun & needed
        reusable = exporter.reusable and not outdated
        if reusable and exports.reuse_if_unchanged(name):
            continue
        rerun.add(name)
        yield exports.result()  # is saved: should this exporter fail, what the others made is not lost
        now = replace(context, artifacts=exports.artifacts)
        failed = Caught(DoesNotFitError, PrunedError)  # how a trial of a sweep ends
        with failed, counts.part(name, index, len(exporters), "exporter"):
            exports.add(name, artifacts(name, exporter.export(model, now)))
        if failed.error:  # is raised at the end: an exporter's error must not cost the report
            errors.append(failed.error)
            exports.failed[name] = str(redact(describe_error(failed.error)))
    yield exports.result()
    if errors:
        raise ExportError(context.run_dir, exports.failed) from errors[0]


class ExportError(FrameworkError):
    """Exporters failed; the run has made all the rest."""

    def __init__(self, run_dir: Path, failed: Mapping[str, str]) -> None:
        errors = (f"exporter '{name}': {text}" for name, text in failed.items())
        super().__init__("\n".join([*errors, f"Everything else is kept. Export again with: {export_command(run_dir)}"]))


def artifacts(name: str, result: object) -> list[Artifact]:
    """Return what an exporter returned or yielded as a list.

    Raises:
        FrameworkError: it is something else than artifacts.
    """
    artifact_list: list[Artifact] = []
    # The type of a tensor without dimensions says that it can be iterated over, and it cannot.
    is_list = isinstance(result, Iterable) and not isinstance(result, str) and getattr(result, "ndim", 1) != 0
    items: Iterable[object] = cast("Iterable[object]", result) if is_list else [result]
    for item in items:
        if not isinstance(item, Artifact):
            raise FrameworkError(
                f"exporter {name} returned {short_repr(item)}: return a list with an Artifact(kind, path, bytes) for "
                "each file or folder that it wrote"
            )
        artifact_list.append(item)
    return artifact_list


def in_order(exporters: Mapping[str, Exporter]) -> list[str]:
    """Return the names of exporters, those that others come after first; else the order they were chosen in."""
    sorter = TopologicalSorter(
        {
            name: [dependency for dependency in exporters if dependency in exporter.after]
            for name, exporter in exporters.items()
        }
    )
    return list(sorter.static_order())


class Exports:
    """The exports of a run: those of now, and those of before that can be used.

    Args:
        run_dir: the folder of the run.
        weights: a hash over the trained weights.
        keys: by exporter, a hash over the settings that count for what it makes.
        before: what an earlier export left; None if there was none, or the weights are trained again.
    """

    def __init__(self, run_dir: Path, weights: str, keys: Mapping[str, str], before: ExportResult | None) -> None:
        self._run_dir = run_dir
        self._weights = weights
        self._keys = keys
        self._origins: dict[str, Origin] = {}
        self._artifacts: list[Artifact] = []
        self.failed: dict[str, str] = {}
        self._before = {
            name: artifacts for name, artifacts in _by_exporter(before) if self._is_usable(before, name, artifacts)
        }
        self._known = dict(before.origins) if before else {}
        # An exporter that failed and does not run now has still failed.
        self._failed_before = {name: why for name, why in (before.failed if before else {}).items() if name not in keys}

    def _is_usable(self, before: ExportResult | None, name: str, artifacts: Sequence[Artifact]) -> bool:
        assert before is not None  # noqa: S101 - it has exporters
        is_complete = all(size(self._run_dir / artifact.path) == artifact.bytes for artifact in artifacts)
        return is_complete and before.origins[name].weights == self._weights

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What is there to be used, what was made now first."""
        return (*self._artifacts, *(artifact for earlier in self._earlier().values() for artifact in earlier))

    def _earlier(self) -> dict[str, list[Artifact]]:
        """Return what earlier exports made that is there still, by exporter."""
        run_dir = self._run_dir
        return {
            name: artifacts
            for name, artifacts in self._before.items()
            if all((run_dir / artifact.path).exists() for artifact in artifacts)
        }

    def reuse_if_unchanged(self, name: str) -> bool:
        """Take what an exporter made before, if it would make the same now; False if it has to run."""
        earlier = self._before.get(name)
        if earlier is None or self._known[name].settings != self._keys[name]:
            return False
        self.add(
            name, [replace(artifact, notes=list(dict.fromkeys([*artifact.notes, KEPT_NOTE]))) for artifact in earlier]
        )
        return True

    def add(self, name: str, artifacts: Sequence[Artifact]) -> None:
        """Take what an exporter made."""
        # Out of date from now on, even where the exporter wrote other files this time.
        self._before.pop(name, None)
        self._artifacts += artifacts
        paths = [artifact.path for artifact in artifacts]
        self._origins[name] = Origin(self._weights, self._keys[name], paths)

    def result(self) -> ExportResult:
        """Return all of it, with the sizes that folders have now, into which others wrote: a card, for example."""
        origins = {**{name: self._known[name] for name in self._earlier()}, **self._origins}
        failed = {**self._failed_before, **self.failed}
        return ExportResult([self._measured(artifact) for artifact in self.artifacts], origins, failed)

    def _measured(self, artifact: Artifact) -> Artifact:
        written_into = any(child.path.startswith(f"{artifact.path}/") for child in self.artifacts)
        return replace(artifact, bytes=size(self._run_dir / artifact.path)) if written_into else artifact


def _by_exporter(before: ExportResult | None) -> Iterator[tuple[str, list[Artifact]]]:
    if before is None:
        return
    for name, origin in before.origins.items():
        artifacts = [artifact for artifact in before.artifacts if artifact.path in origin.paths]
        if len(artifacts) == len(origin.paths):
            yield name, artifacts


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files below a folder; -1 if there is neither."""
    if not path.exists():
        return -1
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def settings(run: Mapping[str, Any], exporter: Selection | None) -> str:
    """Return a hash over the settings that count for what an exporter makes: those of the run, and its own."""
    return key_of(run, as_plain(exporter, Affects.exports))


def fingerprint(folder: Path) -> str:
    """Return a hash over the files of a folder, names and contents, whenever they were written."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        # With the size: samples alone miss what is appended.
        digest.update(f"{file.relative_to(folder).as_posix()}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            for block in _blocks(opened, file.stat().st_size):
                digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    # A training changes all of a weight, so samples from all over the file show it.
    step = BLOCK_BYTES if length <= HASHED_BYTES else length // (HASHED_BYTES // BLOCK_BYTES)
    for start in range(0, length, step):
        file.seek(start)
        yield file.read(BLOCK_BYTES)
