"""`python -m framework bench-gpu`: training on one GPU, beside TRL and Unsloth, in parts that can be continued."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from framework import FrameworkError, __version__
from framework.api import GIB, PythonProcess, cache_dir, count, describe_room, display_path, unknown, write_failure
from framework.api.program import CommandParser
from framework_plugins.gpu import contenders
from framework_plugins.gpu.card import Card, Environment, Probe, chosen, probe
from framework_plugins.gpu.config import BenchGpuCommandConfig
from framework_plugins.gpu.contenders import CONTENDERS, Bench, MissingError, NoTimeError, NotInstalledError
from framework_plugins.gpu.environments import TRL, UNSLOTH, DiskFullError, environment
from framework_plugins.gpu.parts import MARGIN, WEIGHTS_GIB, BenchPart, all_parts
from framework_plugins.gpu.report import page, table
from framework_plugins.gpu.results import FORMAT, GpuResults, PartResult, load_results, save_results

NAME = "bench-gpu"
DRY = "--dry goes through the same steps on the CPU"
SECONDS = 480
"""What a part may take."""
PER_GIB_SECONDS = 15
"""About what a GiB of random weights takes to write, once."""
INSTALL_SECONDS = 480
"""About what an environment takes to install."""
SCRATCH_GIB = 2.0
"""Adapters and logs of a part, and what libraries compile."""
INCOMPLETE = 1


class BenchGpuCommand:
    """Runs the parts, or reports on the files of earlier runs."""

    def __init__(self, config: BenchGpuCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Measure or report; return 1 if a file was left out of the report."""
        parsed = _parser().read(arguments)
        if parsed.list:
            print("\n".join(all_parts()))  # noqa: T201 - the answer
            return 0
        if parsed.report is not None:
            return _report(parsed.report, parsed.page)
        parts = all_parts(dry=parsed.dry)
        for name in parsed.part or ():
            if name not in parts:
                raise FrameworkError(unknown("part", name, parts))
        selection = [parts[name] for name in parsed.part or parts]
        file = parsed.results or Path("bench-gpu-dry.json" if parsed.dry else "bench-gpu.json")
        _check_writable(file)
        machine = probe(Path(sys.executable))
        card = Card() if parsed.dry else chosen(machine, NAME, DRY)
        fitting = [part for part in selection if parsed.dry or card.memory >= MARGIN * part.limit * GIB]
        if not fitting:
            least = min(part.limit for part in selection)
            raise FrameworkError(f"{NAME}: {card.about} is too small: the chosen parts need at least {least} GiB")
        results = _continued(file, card, machine, dry=parsed.dry)
        if parsed.again:
            remaining = {
                name: part for name, part in results.parts.items() if name not in {part.name for part in selection}
            }
            results = replace(results, parts=remaining)
        _Session(fitting, card, machine, results, file, parsed.folder, parsed.seconds, dry=parsed.dry).run()
        return 0


def _check_writable(file: Path) -> None:
    """Refuse a file that cannot be written, before anything is measured."""
    exists = file.exists()
    try:
        file.open("ab").close()
    except OSError as error:
        raise FrameworkError(
            f"--results={file} cannot be written: {error.strerror or error}: name another file"
        ) from error
    if not exists:
        file.unlink()


def _parser() -> CommandParser:
    parser = CommandParser(NAME, BenchGpuCommandConfig.__doc__)
    parser.add_argument("--dry", action="store_true", help="the same steps on the CPU: tiny shapes, no environments")
    parser.add_argument("--part", action="append", metavar="NAME", help="run this part; can be given several times")
    parser.add_argument("--again", action="store_true", help="measure parts again that are complete")
    parser.add_argument("--list", action="store_true", help="print the names of the parts")
    parser.add_argument("--results", type=Path, metavar="FILE", help="the file to write; default: bench-gpu.json")
    parser.add_argument(
        "--folder", type=Path, default=cache_dir() / NAME, metavar="FOLDER",
        help="environments and weights; remove it afterwards; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--seconds", type=_positive, default=SECONDS, help="for each part; default: %(default)s")
    parser.add_argument(
        "--report", type=Path, nargs="*", metavar="FILE", help="print the table of such files, and measure nothing"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="with --report: write all numbers there, as Markdown")
    return parser


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return seconds


def _report(files: Iterable[Path], target: Path | None) -> int:
    """Print the table of the files and write the page; a file that cannot be read is named, and left out."""
    results, refused = [], []
    for file in files:
        try:
            results.append(load_results(file))
        except FrameworkError as error:
            refused.append(str(error))
            _say(f"left out: {error}")
    if refused and not results:
        raise FrameworkError(f"{NAME} --report: none of the files can be read")
    real = [result for result in results if not result.dry]
    if target is not None:
        if dry := len(results) - len(real):
            _say(f"left out of the page: {count(dry, 'dry run')}, since they say nothing about a GPU")
        _write_page(page(real), target)
    print(table(results) if results else page([]))  # noqa: T201 - the answer
    return INCOMPLETE if refused else 0


BEGIN, END = "<!-- bench-gpu -->", "<!-- /bench-gpu -->"
"""Between them is the part of a page that the command writes; a page without them is written whole."""


def _write_page(text: str, target: Path) -> None:
    before, begin, tail = (target.read_text(encoding="utf-8") if target.exists() else "").partition(BEGIN)
    _, end, after = tail.partition(END)
    content = f"{before}{BEGIN}\n{text}\n{END}{after}" if begin and end else f"# Training on GPUs\n\n{text}\n"
    try:
        target.write_text(content, encoding="utf-8")
    except OSError as error:
        raise FrameworkError(f"--page={target} cannot be written: {error.strerror}") from error


def _continued(file: Path, card: Card, machine: Probe, *, dry: bool) -> GpuResults:
    """Return the results to add to: those of the file, or none.

    Raises:
        FrameworkError: the file cannot be added to.
    """
    empty_results = GpuResults(
        FORMAT, __version__, dry, card, "" if dry else machine.driver, machine.system, machine.python
    )
    if not file.exists():
        return empty_results
    results = load_results(file)
    for name in ("framework", "dry", "card", "driver"):
        before, now = getattr(results, name), getattr(empty_results, name)
        if before != now:
            sides = [side.about if isinstance(side, Card) else side for side in (before, now)]
            raise FrameworkError(
                f"{display_path(file)} has results with {name} {sides[0]}, and this is {sides[1]}: --results=FILE "
                "starts another file"
            )
    return replace(results, parts={name: _to_try_again(part) for name, part in results.parts.items()})


def _to_try_again(part: PartResult) -> PartResult:
    """Forget the contenders that could not be installed: there may be a network now."""
    reasons = {who: why for who, why in part.missing.items() if who not in part.try_again}
    return replace(part, missing=reasons, try_again=[])


class _Session:
    """All parts that were asked for, one after the other. The file is written after each training."""

    def __init__(
        self, parts: Sequence[BenchPart], card: Card, machine: Probe, results: GpuResults, file: Path, folder: Path,
        seconds: float, *, dry: bool,
    ) -> None:  # fmt: skip
        self.parts, self.card, self.machine, self.results = parts, card, machine, results
        self.file, self.folder, self.seconds, self.dry = file, folder.absolute(), seconds, dry

    def run(self) -> None:
        """Run what is missing, and print the table."""
        todo = [part for part in self.parts if not _is_complete(self.results.parts.get(part.name))]
        file = display_path(self.file)
        try:
            if todo:
                self._announce(todo)
                self.folder.mkdir(parents=True, exist_ok=True)
                environments = self._environments()
                for part in todo:
                    self._part(part, environments)
        except DiskFullError as error:
            raise FrameworkError(self._full()) from error
        except OSError as error:
            if write_failure(error):
                raise FrameworkError(self._full()) from error
            raise
        except KeyboardInterrupt:
            _say(f"interrupted: {file} has the results so far; the same command continues")
            raise
        print(page([self.results]))  # noqa: T201 - the answer
        pending = [part.name for part in self.parts if not _is_complete(self.results.parts.get(part.name))]
        if pending:
            _say(f"not complete: {', '.join(pending)}; the same command continues")
        hint = f"environments and weights are in {self.folder}: remove it if no other run follows"
        _say(f"results: {file}; {'a dry run says nothing about a GPU' if self.dry else hint}")

    def _full(self) -> str:
        return (
            f"{NAME}: the disk of {self.folder} is full, {describe_room(self.folder)}. {display_path(self.file)} has "
            "the results so far; free some space, or set --folder=FOLDER, and run the same command again"
        )

    def _announce(self, todo: Sequence[BenchPart]) -> None:
        """Say what is going to happen, in time and gigabytes, before it does.

        Raises:
            FrameworkError: the disk is too small.
        """
        shapes = list(dict.fromkeys(part.shape for part in todo if not self._base(part).joinpath("done").exists()))
        peers = [] if self.dry else [peer for peer in (TRL, UNSLOTH) if not (self.folder / peer.name).exists()]
        weights = 0.0 if self.dry else sum(WEIGHTS_GIB[shape] for shape in shapes)
        disk = 0.0 if self.dry else weights + sum(peer.gib for peer in peers) + SCRATCH_GIB
        seconds = len(todo) * self.seconds + weights * PER_GIB_SECONDS + len(peers) * INSTALL_SECONDS
        _say(f"{NAME}: {count(len(todo), 'part')} on {self.card.about}, at most about {_duration(seconds)}")
        if peers:
            download = sum(peer.download_gb for peer in peers)
            named = " and ".join(f"{peer.name} ({peer.gib:.0f} GiB)" for peer in peers)
            _say(f"  environments made in {self.folder}: {named}; about {download:.0f} GB to download")
        if weights:
            _say(f"  random weights made there: {weights:.0f} GiB")
        _say(f"  on disk: {disk:.0f} GiB, {describe_room(self.folder)}" if disk else f"  folder: {self.folder}")
        _say(f"  results: {display_path(self.file)}, after each training; if interrupted, the same command continues")
        free = shutil.disk_usage(next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())).free
        if disk * GIB > free:
            raise FrameworkError(
                f"{NAME} needs {disk:.0f} GiB in {self.folder}, and {free / GIB:.0f} GiB are free: set --folder=FOLDER "
                "on another disk, or choose smaller parts, --part=llama1b-nf4-8-alpaca"
            )

    def _environments(self) -> dict[str, Environment]:
        """Make or find the environments, and note what they hold."""
        ours = Environment(Path(sys.executable), self.machine.versions)
        if self.dry:
            lacking = Environment(None, missing="a dry run makes no environments, and this one has no Unsloth")
            environments = {"framework": ours, "trl": ours, "unsloth": ours if find_spec("unsloth") else lacking}
        else:
            torch = self.machine.versions.get("torch", "")
            peers = {peer.name: environment(peer, self.folder, torch, _say) for peer in (TRL, UNSLOTH)}
            environments = {"framework": ours, **peers}
        versions = {name: env.versions for name, env in environments.items() if env.python}
        self.results = replace(self.results, versions=versions)
        return environments

    def _base(self, part: BenchPart) -> Path:
        return self.folder / (f"{part.shape}-dry" if part.dry else part.shape)

    def _part(self, part: BenchPart, environments: Mapping[str, Environment]) -> None:
        """Run the contenders of a part that have not run yet; keep what each comes to at once."""
        _say(part.name)
        base, folder = self._base(part), self.folder / f"part-{part.name}{'-dry' if part.dry else ''}"
        with PythonProcess(env={"HF_HUB_OFFLINE": "1"}) as process:
            if not (base / "done").exists():
                shutil.rmtree(base, ignore_errors=True)
                _call(process, "write_base", part.shape, base, dry=part.dry)
                (base / "done").touch()
            folder.mkdir(exist_ok=True)
            _call(process, "write_rows", part, base, folder)
        rows = [json.loads(line) for line in (folder / "train_tokens.jsonl").read_text(encoding="utf-8").splitlines()]
        tokens = sum(len(row["input_ids"]) for row in rows)
        result = self.results.parts.get(part.name) or PartResult(part.limit, len(rows), tokens, part.steps)
        bench = Bench(part, base, folder, self.card, environments, time.monotonic() + self.seconds)
        for who in CONTENDERS:
            if who in result.results or who in result.missing:
                continue
            try:
                measured = bench.train(who)
            except MissingError as error:
                again = [who] if isinstance(error, NotInstalledError) else []
                result = replace(
                    result, missing=result.missing | {who: str(error)}, try_again=[*result.try_again, *again]
                )
                _say(f"  {who}: left out, {error}")
            except NoTimeError:
                _say(f"  {who}: no time left in this part")
                break
            else:
                result = replace(result, results=result.results | {who: measured})
                _say(f"  {who}: {measured.tokens_per_second:,.0f} tokens/s")
            self._keep(part, result)
        result = self._with_losses(bench, result)
        self._keep(part, result)
        if _is_complete(result):
            shutil.rmtree(folder, ignore_errors=True)

    def _with_losses(self, bench: Bench, result: PartResult) -> PartResult:
        """Return the part with the losses of held-out rows, of the adapters that are there."""
        todo = {who: bench.adapter(who) for who, measured in result.results.items() if measured.held_out_loss is None}
        adapters = {who: folder for who, folder in todo.items() if folder.is_dir()}
        if not adapters:
            return result
        try:
            losses = bench.held_out(adapters)
        except (MissingError, NoTimeError) as error:
            return replace(result, missing=result.missing | {contenders.HELD_OUT_LOSS: str(error)})
        return replace(result, results=contenders.with_losses(result.results, losses))

    def _keep(self, part: BenchPart, result: PartResult) -> None:
        self.results = replace(self.results, parts=self.results.parts | {part.name: result})
        save_results(self.results, self.file)


def _call(process: PythonProcess, name: str, *arguments: object, **options: bool) -> None:
    try:
        process.call(f"framework_plugins.gpu.prepare:{name}", *arguments, **options)
    except FrameworkError as error:
        if "os error 28" in str(error) or "No space left" in str(error):
            raise DiskFullError from error
        raise


def _is_complete(part: PartResult | None) -> bool:
    return part is not None and all(who in part.results or who in part.missing for who in CONTENDERS)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a notice
