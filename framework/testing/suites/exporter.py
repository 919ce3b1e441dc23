"""The suite of `exporter=`."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from framework.api import records
from framework.api.records import Artifact, ExportResult
from framework.api.run_folder import RunFolder
from framework.run import pipeline
from framework.testing.suites.base import Suite, expect, files

if TYPE_CHECKING:
    import pytest

SECRET = "open-sesame-of-the-suite"  # noqa: S105 - planted


class ExporterSuite(Suite):
    """What every exporter has to do.

    Attributes:
        overrides: also the model and the trainer, if the exporter needs real weights; by default both are echo. The
            training runs once for the whole class.
    """

    group = "exporter"
    _trained: ClassVar[dict[type, Path]] = {}

    def run_dir(self, folder: Path, factory: pytest.TempPathFactory) -> Path:
        """Return a run folder with a training that was not exported, a copy of its own for each test."""
        if type(self) not in self._trained:
            shared = factory.mktemp("trained")
            pipeline.run(self.plan(shared, "stages=[data,train]"))
            self._trained[type(self)] = shared / "run"
        return Path(shutil.copytree(self._trained[type(self)], folder / "run"))

    def export(self, folder: Path, *more: str) -> list[Artifact]:
        """Run the export stage in `folder/run` and return what `export.json` lists."""
        plan = self.plan(folder, "stages=[export]", *more)
        pipeline.run(plan)
        return records.load(ExportResult, plan.run_dir / "export.json").artifacts

    def test_every_artifact_that_it_names_exists(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Each artifact has a kind, lies inside the run folder and has the reported size."""
        run_dir = self.run_dir(tmp_path, tmp_path_factory)
        _check(self.export(tmp_path), run_dir)

    def test_no_partial_file_is_left(self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        """No file or folder named `*.part` stays."""
        run_dir = self.run_dir(tmp_path, tmp_path_factory)
        self.export(tmp_path)
        leftovers = [str(path.relative_to(run_dir)) for path in run_dir.rglob("*.part")]
        expect(not leftovers, f"half made and left behind: {', '.join(leftovers)}")

    def test_the_checkpoint_is_not_changed(self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The export reads the checkpoint and changes no file of it."""
        run_dir = self.run_dir(tmp_path, tmp_path_factory)
        before = _hashes(run_dir / RunFolder.CHECKPOINT)
        self.export(tmp_path)
        after = _hashes(run_dir / RunFolder.CHECKPOINT)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        expect(not changed, f"the checkpoint was changed: {', '.join(changed)}")

    def test_a_second_export_replaces_the_first(self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        """The stage runs again in the same folder and gives the same artifacts, whole and of the right size."""
        run_dir = self.run_dir(tmp_path, tmp_path_factory)
        first, second = (self.export(tmp_path) for _ in range(2))
        _check(second, run_dir)
        names = [[(artifact.kind, artifact.path) for artifact in artifacts] for artifacts in (first, second)]
        expect(names[0] == names[1], f"the first export gave {names[0]}, the second {names[1]}")

    def test_no_secret_is_exported(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What an environment variable such as ACME_TOKEN holds is in no artifact, though the config holds it."""
        monkeypatch.setenv("FRAMEWORK_SUITE_TOKEN", SECRET)
        run_dir = self.run_dir(tmp_path, tmp_path_factory)
        for artifact in self.export(tmp_path, f"name={SECRET}"):
            path = run_dir / artifact.path
            for file in files(path) if path.is_dir() else [path]:
                expect(SECRET.encode() not in file.read_bytes(), f"{file.relative_to(run_dir)} holds a secret")


def _check(artifacts: list[Artifact], run_dir: Path) -> None:
    expect(artifacts, "the exporter names no artifact")
    for artifact in artifacts:
        expect(artifact.kind.strip(), f"{artifact} has no kind")
        path = (run_dir / artifact.path).resolve()
        inside = path.is_relative_to(run_dir.resolve()) and path != run_dir.resolve()
        expect(inside, f"{artifact} does not lie inside the run folder")
        expect(path.exists(), f"{artifact} is not there")
        size = sum(file.stat().st_size for file in (files(path) if path.is_dir() else [path]))
        expect(artifact.bytes == size, f"{artifact} has {size} bytes on disk")


def _hashes(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files(folder)}
