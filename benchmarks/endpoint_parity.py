"""How often `parity` names a planted fault of an endpoint, and how often it accuses an honest one.

python -m benchmarks.endpoint_parity plant RUN_DIR FOLDER      the faulty exports: a base, scaled and partial adapters
python -m benchmarks.endpoint_parity ask RUN_DIR FOLDER [--times 10] [--case NAME …] [--out FILE]

RUN_DIR has GGUF files in f16, q8_0 and q4_k_m. Each case is asked with the questions in another order each time.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from framework.api import PythonProcess
from framework.api.program import read_run, restored
from framework_plugins.exports.endpoint.evidence import questions
from framework_plugins.exports.endpoint.parity_command import compare, endpoint_of
from framework_plugins.exports.llama.process import QUIET

FORMS = ("F16", "Q8_0", "Q4_K_M")
NO_SYSTEM = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"
)
SYSTEM = "{{'<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n'}}"
Edit = Callable[[str], float]
PLANTED: Mapping[str, Edit] = {
    "base": lambda _: 0.0,
    "half": lambda _: 0.5,
    "double": lambda _: 2.0,
    "without_down": lambda name: 0.0 if "down_proj" in name else 1.0,
    "without_q": lambda name: 0.0 if "q_proj" in name else 1.0,
}
"""By which factor each matrix of the adapter is multiplied."""


@dataclass(frozen=True)
class Case:
    """An endpoint: the file, options of the server and of requests, and what `parity` should say."""

    name: str
    files: tuple[str, ...]
    expected: frozenset[str]
    server: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    against_file: bool = False
    log_probs: bool = True


def cases() -> Iterator[Case]:
    tuned = tuple(f"tuned/{form}" for form in FORMS)
    none = frozenset[str]()
    for form in FORMS:
        yield Case(f"honest {form}", (f"tuned/{form}",), none)
        yield Case(f"honest {form}, against its file", (f"tuned/{form}",), none, against_file=True)
        yield Case(f"honest {form}, batches of 32", (f"tuned/{form}",), none, {"n_batch": 32, "n_ubatch": 32})
        yield Case(f"honest {form}, without logprobs", (f"tuned/{form}",), none, log_probs=False)
    bases = tuple(f"base/{form}" for form in FORMS)
    yield Case("adapter dropped", bases, frozenset({"base"}))
    yield Case("adapter dropped, without logprobs", bases, frozenset({"base"}), log_probs=False)
    template = frozenset({"template"})
    yield Case("system turn lost", tuned, template, {"chat_template": NO_SYSTEM})
    yield Case("system turn lost, without logprobs", tuned, template, {"chat_template": NO_SYSTEM}, log_probs=False)
    yield Case("another template", tuned, frozenset({"template", "other"}), {"chat_template": "llama2"})
    doubled = "{{'<|im_start|>'}}" + SYSTEM + NO_SYSTEM
    yield Case("a token too many", tuned, template, {"chat_template": doubled})
    yield Case("stop ignored", tuned, frozenset({"stop"}), request={"ignore_eos": True})
    yield Case("sampled", tuned, frozenset({"sampling"}), request={"temperature": 1.0, "seed": -1})
    sampled = {"temperature": 1.0, "seed": -1}
    yield Case("sampled, without logprobs", tuned, frozenset({"sampling"}), request=sampled, log_probs=False)
    for name in ("half", "double", "without_down", "without_q"):
        files = tuple(f"{name}/{form}" for form in FORMS)
        yield Case(f"adapter {name}, against the file", files, frozenset({"other"}), against_file=True)
    swapped = ("tuned/Q4_K_M", "tuned/Q8_0")
    yield Case("another quantization than the file", swapped, frozenset({"other"}), against_file=True)


def plant(run: Path, folder: Path) -> None:
    """Export the run with adapters that are changed."""
    for name, factor in PLANTED.items():
        weights = folder / f"{name}_weights"
        shutil.copytree(run / "checkpoint", weights, dirs_exist_ok=True)
        file = weights / "adapter_model.safetensors"
        tensors = load_file(file)
        changed = {key: value * (factor(key) if "lora_B" in key else 1.0) for key, value in tensors.items()}
        save_file({key: value.astype(tensors[key].dtype) for key, value in changed.items()}, file, {"format": "pt"})
        words = ["+experiment=quickstart", f"run_dir={folder / name}", f"checkpoint={weights}", "stages=[export]"]
        words += ["exporter=[gguf]", "exporter.gguf.parity.check=false"]
        forms = f"exporter.gguf.quantizations=[{','.join(form.lower() for form in FORMS)}]"
        subprocess.run([sys.executable, "-m", "framework", *words, forms], check=True)


def file_of(run: Path, folder: Path, name: str) -> Path:
    kind, _, form = name.partition("/")
    (file,) = ((run if kind == "tuned" else folder / kind) / "gguf").glob(f"*-{form}.gguf")
    return file


@contextmanager
def served(file: Path, **options: Any) -> Iterator[str]:
    with PythonProcess(env=QUIET, override=True) as process:
        sizes = {"threads": 1, "context": 1200, "parallel": 1}
        start = "framework_plugins.exports.llama.server:start_to_answer"
        yield process.call(start, file=str(file), **sizes, **options)


def ask(run_dir: Path, folder: Path, *, times: int, chosen: list[str], out: Path | None) -> None:
    run, results = read_run(str(run_dir)), []
    with restored(run) as (plan, model):
        asked = questions(plan, model)
        for case in cases():
            if chosen and case.name not in chosen:
                continue
            right = asked_in_all = 0
            start, words = time.process_time(), []
            for turn in range(times):
                name = case.files[turn % len(case.files)]
                file = file_of(run_dir, folder, name)
                reference = file_of(run_dir, folder, f"tuned/{FORMS[turn % len(FORMS)]}")
                if case.name.startswith("another quantization"):
                    reference = file_of(run_dir, folder, "tuned/" + ("Q8_0", "Q4_K_M")[turn % 2])
                order = asked[:40]
                random.Random(turn).shuffle(order)  # noqa: S311 - an order
                with served(file, **case.server) as url, endpoint_of(url, None, "") as endpoint:
                    endpoint.fields |= case.request
                    against = reference if case.against_file else None
                    if against and case.name.startswith("honest"):
                        against = file
                    result = compare(endpoint, run, model, order[:24], file=against, log_probs=case.log_probs)
                named = result.outcomes
                right += named == case.expected or bool(case.expected and case.expected <= named)
                asked_in_all += result.questions
                words.append(sorted(named))
                line = {"case": case.name, "file": name, **result.as_json(), "outcomes": sorted(named)}
                results.append(line)
                if out:
                    out.write_text(json.dumps(results, indent=1), encoding="utf-8")
            seconds = time.process_time() - start
            print(  # noqa: T201
                f"{case.name:<40} right {right}/{times}  questions {asked_in_all / times:.1f}  {seconds:.0f} CPU s  "
                f"{[word for word in words if set(word) != case.expected][:4]}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("plant", "ask"))
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.task == "plant":
        plant(given.run_dir.absolute(), given.folder.absolute())
    else:
        ask(
            given.run_dir.absolute(), given.folder.absolute(), times=given.times, chosen=given.case,
            out=given.out.absolute() if given.out else None,
        )  # fmt: skip
