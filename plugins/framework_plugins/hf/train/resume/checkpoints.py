"""Checkpoints of a training, to resume it after an interruption.

A checkpoint is a folder below `.resume` in the run folder. It holds whole tensors by the names of the weights, so a
training can resume with another number of processes; and the hash of each of its files, since libraries load damaged
ones silently. The newest that is whole is taken, and the run says which, and what it passed over. One training has one
set of settings: with others a run is refused. On a full disk the training continues without a new checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan
from framework.api import Affects, RunFolder, atomic_folder, describe_room, redact, write_failure
from framework.api.training import TokenGroup, TokenRow

MANIFEST = "manifest.json"
STEP_FOLDER = "step-{:08d}"
"""The folder of the checkpoint after a step."""
AT_ONCE = "trainer.answers_at_once"
"""A setting that only some trainings depend on, and that checkpoints of earlier versions do not have."""
BLOCK_BYTES = 1 << 20
log = logging.getLogger(__name__)


def settings(plan: Plan) -> dict[str, Any]:
    """Return what makes a training the one that it is, by the keys of the config."""
    values: dict[str, Any] = {"rows of a step": plan.batch}
    if plan.method.config.samples:  # in 16 bits another number draws other answers
        values[AT_ONCE] = plan.training.planned_answers()
    for name, value in redact(plan.affecting(Affects.resume)).items():
        option, option_settings = value if name in plan.selections else (value, {})
        values |= {name: option, **{f"{name}.{key}": setting for key, setting in option_settings.items()}}
    return values


# Checkpoints are ours: those of the trainer differ between one process, DDP and FSDP.
def rows_digest(groups: Sequence[TokenGroup]) -> str:
    """Return a hash over the tokens and labels of all rows, in their order, and over what groups have besides."""
    hasher = hashlib.sha256()
    for group in groups:
        for row in group.rows:
            hasher.update(array("q", [len(row.input_ids), *row.input_ids, *row.labels]).tobytes())
        if not isinstance(group, TokenRow):
            arrays = [(name, [values.tobytes() for values in rows]) for name, rows in sorted(group.arrays.items())]
            hasher.update(repr((group.roles, sorted(group.facts.items()), arrays)).encode())
    return hasher.hexdigest()


class Checkpoints:
    """The checkpoints of one run.

    Args:
        plan: the run.
        writes: whether this process is the one that writes.
    """

    def __init__(self, plan: Plan, *, writes: bool = True) -> None:
        self.folder = plan.run_dir / RunFolder.TRAINING_STATE
        self.settings: Mapping[str, Any] = json.loads(json.dumps(settings(plan), default=str))
        self.writes = writes
        self.limit: int = plan.trainer.config.save_total_limit
        self._rows: tuple[Sequence[TokenGroup], str] | None = None

    def digest(self, rows: Sequence[TokenGroup]) -> str:
        """Return the hash over the rows of a training, which are read once."""
        if self._rows is None or self._rows[0] is not rows:
            self._rows = rows, rows_digest(rows)
        return self._rows[1]

    def newest(self, rows: Sequence[TokenGroup] | None = None) -> Path | None:
        """Return the newest checkpoint that is whole; None if there is none. With the rows known, say which it is.

        Args:
            rows: those of the training, if they are known.

        Raises:
            FrameworkError: it is one of another training.
        """
        damaged: list[str] = []
        for folder in sorted(self._all(), key=_step, reverse=True):
            manifest = _manifest(folder)
            if manifest is None:
                damaged.append(f"{folder.name} ({MANIFEST})")
                continue
            saved = {**manifest["settings"], "rows": manifest["rows"]}
            current = {**self.settings, "rows": self.digest(rows) if rows is not None else manifest["rows"]}
            keys = [
                key
                for key in dict.fromkeys([*saved, *current])
                if key in saved or not key.startswith((Plan.CODE_OF, AT_ONCE))
            ]
            if differences := [key for key in keys if saved.get(key) != current.get(key)]:
                key = differences[0]
                raise self._refusal(folder, key, saved.get(key), known=key in current)
            if rows is None:
                return folder
            broken = [name for name, digest in manifest["files"].items() if _hash(folder / name) != digest]
            if not broken:
                self._say(
                    f"the training continues after step {_step(folder)}, from {RunFolder.TRAINING_STATE}/{folder.name}",
                    damaged,
                )
                return folder
            damaged.append(f"{folder.name} ({', '.join(broken)})")
        if damaged and rows is not None:
            self._say("the training begins at its first step", damaged)
        return None

    def _say(self, text: str, damaged: Sequence[str]) -> None:
        if self.writes:
            log.warning("%s", f"{text}; skipped as damaged: {', '.join(damaged)}" if damaged else text)

    def _refusal(self, folder: Path, key: str, before: Any, *, known: bool) -> FrameworkError:
        difference, fix = "other rows" if key == "rows" else f"{key}={before}", "restore that"
        if key.startswith(Plan.CODE_OF):
            difference = f"another version of {key}"
        elif not known:
            fix = "no setting here has this name, so another version of this program wrote it: continue with that"
        return FrameworkError(
            f"{folder} belongs to a training with {difference}: {fix}, remove {self.folder} to start from the "
            "beginning, or set another run_dir"
        )

    def save(self, step: int, rows: Sequence[TokenGroup], write: Callable[[Path], None], needed: int) -> None:
        """Let `write` fill a folder for a step; it is complete or absent. Where it finds no room, that is said.

        Args:
            step: after which it is.
            rows: of the training.
            write: writes the state into a folder.
            needed: about how many bytes.

        Raises:
            FrameworkError: the folder of the checkpoints cannot be made.
        """
        if not self.writes:
            return
        final = self.folder / STEP_FOLDER.format(step)
        try:
            with atomic_folder(final, replace=True) as half:
                write(half)
                files = {file.name: _hash(file) for file in sorted(half.iterdir())}
                manifest = {"settings": self.settings, "rows": self.digest(rows), "files": files}
                (half / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        except Exception as error:
            if reason := write_failure(error):
                room = describe_room(self.folder, needed)
                log.warning("%s", f"step {step}: no checkpoint was saved, the training continues: {reason} ({room})")
                return
            if isinstance(error, OSError):
                raise FrameworkError(
                    f"{final} cannot be made: {error.strerror}. Remove {self.folder}, or set another run_dir"
                ) from error
            raise
        # One of a later step was passed over as damaged: it must not be taken for a whole one.
        for checkpoint in [folder for folder in self._all() if _step(folder) > step]:
            shutil.rmtree(checkpoint, ignore_errors=True)
        for checkpoint in sorted(self._all(), key=_step)[: -self.limit]:
            shutil.rmtree(checkpoint, ignore_errors=True)

    def clear(self) -> None:
        """Remove all of them: the training is over."""
        if self.writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> Iterator[Path]:
        yield from (path for path in self.folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))


def _step(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def _manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # damaged
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("rows"), str):
        return None
    return manifest if all(isinstance(manifest.get(name), dict) for name in ("settings", "files")) else None


def _hash(file: Path) -> str:
    """Return the hash of a file; empty if it is gone."""
    hasher = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while block := opened.read(BLOCK_BYTES):
                hasher.update(block)
    except OSError:
        return ""
    return hasher.hexdigest()
