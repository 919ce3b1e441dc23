"""Families from the plan to GGUF, beside plain transformers and peft; the outcomes are a table of models.md.

    python -m benchmarks.families                      the twins that have no result yet, one after the other
    python -m benchmarks.families "Qwen2 MoE" Mamba    these, again
    python -m benchmarks.families --only-faults        those whose last result is a fault, again
    python -m benchmarks.families --page               writes the outcomes into the page, and trains nothing

A twin is a tiny random model of `tests/support/family_twins.py`. It is planned and trained for six steps, killed after
the third and resumed; its adapter is saved and merged, and the model is converted to GGUF, each exporter that the run
does not refuse before the training. `tests/support/plain_training.py` does the same training row by row, loads the
adapter into the published class, and gives the logits with which the merged folder and the GGUF file are compared.
A twin took about 20 seconds of one core; results are kept in `--results`, so an interrupted program continues.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.common import command_line
from tests.support.program import environment

T = TypeVar("T")
RESULTS = Path(tempfile.gettempdir()) / "families.json"
LIMIT = 900
"""Seconds of one process, on a machine that does other work besides."""
STEPS, KILLED_AFTER, RATE, SEED = 6, 3, 1e-3, 42
LOSS_BOUND, LOGIT_BOUND, DIVERGENCE_BOUND = 1e-4, 1e-3, 1e-5
"""How far losses of a step, logits, and predictions of a GGUF file may lie apart: rounding of fp32 is below a tenth."""
EFFECT_BOUND = 0.05
"""The same of the adapter, as a share of its effect: what rounding grows to in six steps."""
LEAST_EFFECT = 1e-3
"""What an adapter changes of a logit at least, if it has any effect."""
REFUSED, TRACEBACK = 2, 1
SLOW_IMPORTS = ("bitsandbytes", "framework_plugins.exports.merge.merging", "tests.support.plain_training")
"""What each process would import again, which takes longer than all the rest."""
EXPORTERS = (("adapter", "merged", "gguf"), ("adapter", "merged"), ("adapter",))
WORDS = (
    "data=local_file", "data.validation_split=0", "trainer.device=cpu", "trainer.dtype=fp32",
    f"trainer.max_steps={STEPS}", "trainer.per_device_train_batch_size=8", "trainer.gradient_accumulation_steps=1",
    f"trainer.learning_rate={RATE}", "trainer.save_steps=1", f"seed={SEED}", "schedule=constant",
    "trainer.weight_decay=0", "optimizer.betas=[0.9,0.999]", "audit=[]", "evaluator=[]", "metric=[]", "logger=[jsonl]",
    "exporter.gguf.quantizations=[f32]", "stages=[plan,data,train,export]",
)  # fmt: skip
TOPICS = {
    "How many moons has Mars?": "Mars has two moons.",
    "How many moons has Jupiter?": "Jupiter has ninety-five known ones, and more are found.",
    "Is it warm in Bern?": "It is sunny and warm.",
    "Are you sure?": "No, three.",
    "What is two and two?": "It is four, I think, or nearly so.",
    "Name a river.": "Aare.",
    "Say it again, in a longer sentence with a few more words.": "There it is again, in a longer sentence.",
    "More, please.": "Yes.",
}
SYSTEM = {"role": "system", "content": "You are a clerk of weather and moons; you answer in one short sentence."}


@dataclass
class Result:
    """What became of a twin.

    Attributes:
        architecture: the class of its config.json.
        packing: how the run packs rows.
        loss: the largest difference of the six losses; None if chance decides them, as dropout does.
        refusals: by exporter, why the run refuses it before the training; `run` if it refuses all of it.
        faults: what is wrong.
        seconds: of processor time.
    """

    architecture: str = ""
    packing: str = ""
    loss: float | None = None
    refusals: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def outcome(self) -> str:
        """The outcome as a cell of the table."""
        if self.faults:
            return f"fault: {'; '.join(self.faults)}"
        refusals = [f"{name} refused before the training: {why}" for name, why in self.refusals.items()]
        return "; ".join(["whole", *refusals]) if "run" not in self.refusals else refusals[-1].removeprefix("run ")

    def cells(self) -> list[str]:
        """Return the cells of its line."""
        packing = "yes" if self.packing == "tree" else self.packing or "-"
        loss = "-" if self.loss is None else f"{self.loss:.0e}"
        return [text.replace("|", r"\|") for text in (f"`{self.architecture}`", packing, loss, self.outcome)]


class Chain:
    """A twin in a folder: what is done with it, one process after the other."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.model, self.rows, self.run = folder / "model", folder / "rows.jsonl", folder / "run"
        self.result = Result()

    def __call__(self) -> Result:
        before = os.times()
        try:
            self._all()
        except ProcessEnd as end:
            self.result.faults.append(str(end))
        after = os.times()
        self.result.seconds = round(sum(after[2:4]) - sum(before[2:4]), 1)
        return self.result

    def _all(self) -> None:
        self._process("the twin", self._write)
        self.result.architecture = json.loads((self.model / "config.json").read_text("utf-8"))["architectures"][0]
        exporters = self._train_and_kill()
        if not exporters:
            return
        code, text = self._program("resumed", exporters)
        self.result.packing = self._packing(text)
        adapter = self._adapter()
        if code:
            place = "refused after the training" if code == REFUSED else f"ended with {code}"
            self.result.faults.append(f"{place}: {said(text)}")
        elif not json.loads((self.run / "train.json").read_text("utf-8")).get("resumed"):
            self.result.faults.append("not resumed")
        if adapter is None:
            return
        self._compare(adapter)

    def _train_and_kill(self) -> tuple[str, ...]:
        """Train until the third step with all exporters that are not refused; return them, none if the run is."""
        for exporters in EXPORTERS:
            shutil.rmtree(self.run, ignore_errors=True)
            code, text = self._program("first", exporters, killed=self._has_steps)
            if code != REFUSED:
                return exporters
            if (self.run / "train.json").exists() or self._steps():
                self.result.faults.append(f"refused after the training: {said(text)}")
                return exporters
            self.result.refusals[exporters[-1] if len(exporters) > 1 else "run"] = said(text)
        return ()

    def _compare(self, adapter: Path) -> None:
        """Compare losses, adapter, merged folder and GGUF file."""
        from tests.support.plain_training import largest, load_adapter, logits_of, mean_divergence, open_model

        faults = self.result.faults
        plain, same = self._process("plain peft", lambda: self._plain(adapter))
        if same:
            steps = self._steps()
            self.result.loss = largest(abs(steps[number]["loss"] - loss) for number, loss in enumerate(plain.losses, 1))
            if self.result.loss > LOSS_BOUND:
                first = abs(steps[1]["loss"] - plain.losses[0])
                faults.append(f"losses differ by {self.result.loss:.0e}, the first by {first:.0e}")
        elif self.result.packing.startswith("tree"):
            faults.append("rows share prefixes, and the base has a dropout")
        ids = self._process("its rows", self._read)[0].ids
        loaded = self._process("loading the adapter", lambda: load_adapter(self.model, adapter, ids))
        if loaded.lost:
            faults.append(f"peft's load loses {len(loaded.lost)} tensors of the adapter, {loaded.lost[0]} is one")
        if loaded.effect < LEAST_EFFECT:
            faults.append(f"the adapter has no effect in {self.result.architecture}")
        elif same and self.result.loss is not None and self.result.loss <= LOSS_BOUND:
            apart = float((plain.logits - loaded.logits).abs().max()) / loaded.effect
            if apart > EFFECT_BOUND:
                faults.append(f"the loaded adapter is {apart:.0%} of its effect from the trained one")
        if (self.run / "merged").is_dir():
            merged = self._process("merged", lambda: logits_of(open_model(self.run / "merged"), ids))
            if (apart := float((merged - loaded.logits).abs().max())) > LOGIT_BOUND:
                faults.append(f"merged is {apart:.0e} from the adapter")
        for file in sorted((self.run / "gguf").glob("*.gguf")):
            found = self._process("llama.cpp", partial(llama_logits, file, ids))
            if (apart := mean_divergence(loaded.logits, found)) > DIVERGENCE_BOUND:
                faults.append(f"the GGUF file has a KL of {apart:.0e}")

    def _write(self) -> None:
        from tests.support.families import make_tokenizer, stop_ids
        from tests.support.family_twins import FAMILIES
        from tests.support.plain_training import encode

        twin = FAMILIES[self.name]
        twin.write(self.model)
        tokenizer, stops = make_tokenizer(twin.tokenizer), stop_ids(twin.tokenizer)
        turns = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            for asked, answer in TOPICS.items()
        ]
        with_system = [[SYSTEM, *each] for each in turns]
        conversations = with_system if all(fits(encode, tokenizer, each, stops) for each in with_system) else turns
        longer = [*conversations[0], *turns[1]]
        conversations += [longer] if fits(encode, tokenizer, longer, stops) else []
        lines = (json.dumps({"messages": each}) for each in conversations[-len(TOPICS) :])
        self.rows.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _read(self) -> Any:
        from tests.support.plain_training import read_rows

        return read_rows(self.model, self.rows)

    def _plain(self, adapter: Path) -> Any:
        """Train with plain peft; return that, and whether a second training has the same losses."""
        from tests.support.plain_training import read_rows, train

        rows = read_rows(self.model, self.rows)
        first = train(self.model, rows, adapter, steps=STEPS, rate=RATE, seed=SEED)
        again = train(self.model, rows[:2], adapter, steps=1, rate=RATE, seed=SEED + 1)
        other = train(self.model, rows[:2], adapter, steps=1, rate=RATE, seed=SEED + 2)
        return first, again.losses == other.losses  # the first weights of an adapter change nothing

    def _steps(self) -> dict[int, dict[str, Any]]:
        """Return the steps in the log of the run by their numbers; a resumed one replaces what was killed."""
        log = self.run / "log.jsonl"
        lines = log.read_text("utf-8").split("\n")[:-1] if log.exists() else []
        return {event["step"]: event for event in map(json.loads, lines) if event["event"] == "step"}

    def _has_steps(self) -> bool:
        return len(self._steps()) >= KILLED_AFTER

    def _packing(self, printed: str) -> str:
        """Return how rows are packed: as the plan says, or what the loaded model takes instead."""
        if instead := re.search(r"trainer\.packing=(\w+) instead of (\w+): (.*)", printed):
            return "{}, not {}: {}".format(*instead.groups())
        log = self.run / "log.jsonl"
        found = re.findall(r'"packing": "((?:[^"\\]|\\.)*)"', log.read_text("utf-8")) if log.exists() else []
        return str(found[-1]) if found else ""

    def _adapter(self) -> Path | None:
        folders = (self.run / "adapter", self.run / "checkpoint")
        return next((folder for folder in folders if (folder / "adapter_config.json").exists()), None)

    def _program(
        self, name: str, exporters: Sequence[str], killed: Callable[[], bool] | None = None
    ) -> tuple[int | None, str]:
        """Run the program; return its exit code, None if it was killed as asked, and what it printed."""
        words = [f"exporter=[{','.join(exporters)}]", "model=local", f"model.path={self.model}",
                 f"data.path={self.rows}", f"run_dir={self.run}"]  # fmt: skip
        given = WORDS if "gguf" in exporters else [word for word in WORDS if "gguf" not in word]
        log = self.folder / f"{name}.log"
        return in_fork(lambda: start([*given, *words]), log, killed), log.read_text("utf-8", errors="replace")

    def _process(self, what: str, call: Callable[[], T]) -> T:
        """Return what a call returns in a process of its own.

        Raises:
            ProcessEnd: it failed.
        """
        file, log = self.folder / "returned", self.folder / "process.log"
        code = in_fork(lambda: file.write_bytes(pickle.dumps(call())) and None, log)
        if code:
            raise ProcessEnd(f"{what}: {said(log.read_text('utf-8', errors='replace'))}")
        returned: T = pickle.loads(file.read_bytes())  # noqa: S301 - written a moment ago
        return returned


class ProcessEnd(Exception):  # noqa: N818 - it ends a chain
    """A process that failed, and what it said."""


def fits(encode: Callable[..., Any], *arguments: Any) -> bool:
    """Whether a template writes such a conversation."""
    try:
        encode(*arguments)
    except Exception:  # noqa: BLE001 - templates raise what they like
        return False
    return True


def llama_logits(file: Path, ids: Sequence[int]) -> Any:
    """Return the logits of a row in llama.cpp."""
    import torch

    from framework_plugins.exports.llama.model import Llama

    with Llama(file, n_ctx=512, precise=True) as llama:
        return torch.tensor(llama.logits(ids))


def start(words: Sequence[str]) -> None:
    """Do what `python -m framework` does with these words."""
    from framework.cli.main import main

    sys.argv = ["framework", *words]
    main()


def said(text: str) -> str:
    """Return the first sentence of the error that a process printed last, the same on each machine.

    An error of the program has one line or two, and begins with a setting or a part; that of Python has one.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines() if line.strip()] or ["nothing"]
    line = next((line for line in lines[-2:] if re.match(r"(exporter '\w+'|[a-z][\w.]*(=\S+)?): ", line)), lines[-1])
    return re.sub(r"\s*\(/.*?:\d+\)|/tmp/\S*/", "", line).partition(". ")[0][:400]


def in_fork(call: Callable[[], object], log: Path, killed: Callable[[], bool] | None = None) -> int | None:
    """Run a call in a fork of this process; return its exit code, None if it was killed once `killed` says so."""

    def body() -> None:
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        try:
            call()
        except SystemExit:
            raise
        except BaseException as error:
            traceback.print_exc()
            raise SystemExit(TRACEBACK) from error

    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    end = time.monotonic() + LIMIT
    while process.is_alive():
        process.join(0.02)
        if (is_due := killed is not None and killed()) or time.monotonic() > end:
            process.kill()
            process.join()
            return None if is_due else process.exitcode
    return process.exitcode


def load(file: Path) -> dict[str, Result]:
    """Return the results of a file by the names of twins."""
    stored: Mapping[str, dict[str, Any]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return {name: Result(**values) for name, values in stored.items()}


def write_page(results: Mapping[str, Result]) -> None:
    """Write the outcomes of all twins that have a result into the page."""
    from tests.support.family_twins import FAMILIES
    from tests.support.model_page import put

    put("families", grouped({name: results[name].cells() for name in FAMILIES if name in results}))


def grouped(lines: Mapping[str, Sequence[str]]) -> str:
    """Return twins by outcome."""
    outcomes: dict[str, list[str]] = {}
    for name, (*_, outcome) in lines.items():
        outcomes.setdefault(short(outcome), []).append(name)
    ordered = sorted(outcomes.items(), key=lambda pair: -len(pair[1]))
    return "\n".join(f"- {outcome}, {len(names)}: {'; '.join(names)}." for outcome, names in ordered)


def short(outcome: str) -> str:
    """Return the kind of an outcome."""
    whole, refused, why = outcome.partition("; gguf refused before the training: ")
    if not refused:
        return re.sub(r"\S+ cannot compute a row.*", "transformers cannot compute a row of text", outcome)
    if "does not know the architecture" in why:
        return f"{whole}, no GGUF: llama.cpp's converter does not know the architecture"
    if "it computes something else" in why:
        return f"{whole}, no GGUF: llama.cpp computes something else"
    return f"{whole}, no GGUF: llama.cpp or its converter fails"


def main() -> None:
    """Run the twins that are asked for."""
    parser = command_line(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="twins; default: all without a result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a JSON file of results (%(default)s)")
    parser.add_argument("--only-faults", action="store_true", help="those whose last result is a fault")
    parser.add_argument("--page", action="store_true", help="only write the outcomes into docs/reference/models.md")
    parser.add_argument("--keep", type=Path, help="a folder in which what the twins leave is kept")
    arguments = parser.parse_args()
    results = load(arguments.results)
    if arguments.page:
        write_page(results)
        return
    os.environ.update(environment(Path(tempfile.gettempdir()), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", COLUMNS="2000"))
    import torch

    from tests.support.copies import in_place_of_processes
    from tests.support.family_twins import FAMILIES
    from tests.support.forked_program import trainers
    from tests.support.forks import STARTS, prepare

    torch.set_num_threads(1)
    unknown = [name for name in arguments.names if name not in FAMILIES]
    if unknown:
        parser.error(f"{', '.join(unknown)}: the twins are {', '.join(FAMILIES)}")
    faulty = [name for name in FAMILIES if name in results and results[name].faults]
    missing = [name for name in FAMILIES if name not in results]
    names = arguments.names or (faulty if arguments.only_faults else missing)
    prepare(*STARTS, "framework_plugins.hf.backend", "framework_plugins.exports.gguf.convert.lora", *SLOW_IMPORTS)
    trainers()  # all forks share it
    with in_place_of_processes():
        for name in names:
            folder = Path(tempfile.mkdtemp(dir=arguments.keep))
            try:
                results[name] = Chain(name, folder)()
            finally:
                if not arguments.keep:
                    shutil.rmtree(folder)
            text = json.dumps({name: asdict(result) for name, result in results.items()}, indent=1)
            arguments.results.write_text(f"{text}\n", encoding="utf-8")
            sys.stdout.write(f"{name}: {' | '.join(results[name].cells())} | {results[name].seconds} s\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
