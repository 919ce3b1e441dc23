"""exports/parity/gate.py: what is not what was trained is put aside and told."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from framework.api import records
from framework.api.plan import Plan
from framework.api.records import Artifact, ExportResult
from framework.plan.make import make_plan
from framework.run import pipeline
from framework.run.export import ExportError
from framework.testing import compose
from framework_plugins.exports import chat_template
from framework_plugins.exports.gguf.exporter import GgufExporter
from framework_plugins.exports.merge.merging import merge
from framework_plugins.exports.parity import gate, reference, reference_logits
from framework_plugins.exports.parity.reference import Reference, TrainedModel
from tests.support.ggufs import tiny_model

STEPS = ("trainer.max_steps=4", "trainer.learning_rate=1e-2", "trainer.device=cpu", "adapter.r=4")
"""Few, with a high rate: the adapter is to change what the model says."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Plan]:
    """Return what makes a plan that exports one training of a tiny model; the training runs once."""
    folder = tmp_path_factory.mktemp("parity")
    base, rows = tiny_model(folder / "base", "llama", dtype="bfloat16"), folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"instruction": f"say {n}", "output": f"it is {n}"}) + "\n" for n in range(40)))

    def plan(*words: str) -> Plan:
        model = ["model=local", f"model.path='{base}'", "data=local_file", f"data.path='{rows}'", "logger=[]"]
        every = [*model, *STEPS, "evaluator=[]", "metric=[]", "objective=train_loss", *words]
        return make_plan(compose(every), run_dir=folder / "run", overrides=tuple(every))

    pipeline.run(plan("stages=[data,train]"))
    return plan


@pytest.fixture(autouse=True, scope="module")
def references() -> Iterator[None]:
    """Ask the trained model once for all exports that ask it the same, unless a test replaces a part of that."""
    make, made = TrainedModel._make_reference, dict[tuple[int, ...], Reference | None]()  # noqa: SLF001 - in its place

    def asks() -> list[Any]:
        return [vars(reference)[name] for name in ("trained_logits", "find_placement")]

    plain = asks()

    def once(model: TrainedModel) -> Reference | None:
        if asks() != plain:
            return make(model)
        rows = model.config.prompts, model.config.max_new_tokens, model.config.long_row
        if rows not in made:
            made[rows] = make(model)
        return made[rows]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainedModel, "_make_reference", once)
        yield


def export(plan: Plan) -> list[Artifact]:
    """Return what the exporters of the plan made; what others left before follows it."""
    pipeline.run(plan)
    made = records.load(ExportResult, plan.run_dir / "export.json").artifacts
    return [artifact for artifact in made if artifact.kind in plan.exporter]


def change(folder: Path, **factors: float) -> None:
    """Multiply weights of a model folder."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for part, factor in factors.items():
        for name in weights:
            if part in name:
                weights[name] = (weights[name].float() * factor).to(weights[name].dtype)
    save_file(weights, file, metadata={"format": "pt"})


def test_what_is_exported_is_what_was_trained(trained: Callable[..., Plan]) -> None:
    words = ("stages=[export]", "exporter=[merged,gguf]", "exporter.gguf.quantizations=[f16,q8_0]")
    plan = trained(*words, "exporter.merged.dtype=fp32")
    folder, made = plan.run_dir, {artifact.path: artifact.parity for artifact in export(plan)}
    assert made["merged"].startswith("top-1 100.00% of ")
    (f16,) = [note for path, note in made.items() if path.endswith("F16.gguf")]
    assert "top-1 100.00%" in f16
    assert re.search(r"greedy answers equal \d of 8; KL \S+ at the end of 512 tokens$", f16)
    found = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    (merge_of_files,) = [each for each in found if each["name"].endswith("-merged")]
    assert (merge_of_files["against"], merge_of_files["format"], merge_of_files["top1"]) == ("trained", "float16", 1)
    written = [each for each in found if each["against"] == "chat_template"]
    assert [each["name"].rpartition("-")[2] for each in written] == ["F16.gguf", "Q8_0.gguf"]
    assert all(each["problem"] == each["not_checked"] == "" and each["conversations"] > 4 for each in written)
    (beside,) = [each for each in found if each["against"] == "merged"]  # exact files only
    assert (beside["format"], beside["top1"], beside["problem"]) == ("f16", 1, "")
    names = {Path(path).name for path in made}
    records = {each["name"]: each for each in found if each["name"] in names and each["against"] == "trained"}
    assert records.keys() == names
    (f16_name,) = [name for name in records if name.endswith("F16.gguf")]
    for record in records.values():
        assert record["problem"] == ""
        assert record["top1"] <= record["top1_with_ties"] <= 1
        assert sum(record["answers"].values()) == 8
    assert records["merged"]["format"] == "float32"
    assert records["merged"]["top1"] == records[f16_name]["top1"] == 1
    assert records[f16_name]["tie_nats"] == 0.02
    # Which of two tokens within that tie comes first is the processor's: answers part there, and nowhere else.
    assert records[f16_name]["answers"]["differs"] == 0


def test_a_merge_that_is_wrong_is_put_aside(trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(plan: Plan, checkpoint: Path, target: Path, **more: Any) -> None:
        merge(plan, checkpoint, target, **more)
        change(target, q_proj=-3.0)

    monkeypatch.setattr("framework_plugins.exports.merge.exporter.merge", wrong)
    plan = trained("stages=[export]", "exporter=[merged]", "exporter.merged.folder=elsewhere")
    with pytest.raises(
        ExportError, match=r"(?s)elsewhere is not what was trained: .*It is now in .*rejected/elsewhere"
    ):
        export(plan)
    assert not (plan.run_dir / "elsewhere").exists()
    assert (plan.run_dir / "rejected" / "elsewhere" / "model.safetensors").is_file()
    assert not list(plan.run_dir.glob("*.unchecked"))


def test_a_merge_that_is_wrong_makes_no_gguf_file(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(plan: Plan, checkpoint: Path, target: Path, **more: Any) -> None:
        merge(plan, checkpoint, target, **more)
        change(target, **{"layers.1.mlp.down_proj": 1.001})

    monkeypatch.setattr("framework_plugins.exports.gguf.exporter.merge", wrong)
    folder = "exporter.gguf.folder=other"
    plan = trained("stages=[export]", "exporter=[gguf]", folder, "exporter.gguf.quantizations=[f16]")
    with pytest.raises(ExportError, match=r"-merged is not what was trained: 1 of \d+ weights are not those of"):
        export(plan)
    (put_aside,) = (plan.run_dir / "rejected").glob("*-merged")
    assert (put_aside / "model.safetensors").is_file()
    assert not list((plan.run_dir / "other").glob("*.gguf"))


def test_a_conversion_that_is_wrong_is_reported_from_a_wrong_merge(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(self: GgufExporter, merged: Path, scratch: Path, *more: Any) -> None:
        whole = Path(shutil.copytree(merged, scratch / "wrong"))
        change(whole, down_proj=0.97)
        convert(self, whole, scratch, *more)

    convert = GgufExporter._convert  # noqa: SLF001 - in its place
    monkeypatch.setattr(GgufExporter, "_convert", wrong)
    words = ("stages=[export]", "exporter=[gguf]", "exporter.gguf.folder=odd", "exporter.gguf.quantizations=[q8_0]")
    plan = trained(*words)
    with pytest.raises(ExportError, match=r"F16\.gguf is not what was trained"):
        export(plan)
    records = json.loads((plan.run_dir / "parity.json").read_text(encoding="utf-8"))
    merged = [each["problem"] for each in records if each["name"].endswith("-merged")]
    assert merged[-1] == ""  # other exports of the run may have been wrong


def test_a_file_that_llama_cpp_renders_otherwise_is_put_aside(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "template_for_gguf", lambda template, _: "Well:" + template)
    words = ("stages=[export]", "exporter=[gguf]", "exporter.gguf.folder=said", "exporter.gguf.quantizations=[q8_0]")
    plan = trained(*words)
    with pytest.raises(ExportError, match=r"(?s)Q8_0.gguf is not .* the turns user differently, 'Well:.*rejected"):
        export(plan)
    assert not list((plan.run_dir / "said").glob("*.gguf"))


def test_an_exact_file_is_held_to_the_merged_weights_too(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def otherwise(self: gate.Gate, folder: Path, name: str) -> None:
        merged(self, folder, name)
        self._merged = [-logits for logits in self._merged]

    merged = gate.Gate.check_merged
    monkeypatch.setattr(gate.Gate, "check_merged", otherwise)
    words = ("stages=[export]", "exporter=[gguf]", "exporter.gguf.folder=turned", "exporter.gguf.quantizations=[f16]")
    with pytest.raises(ExportError, match=r"F16\.gguf is not what was merged"):
        export(trained(*words))


def test_what_quantized_files_are_made_of_is_held_to_the_bounds_of_exact_ones(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(plan: Plan, checkpoint: Path, target: Path, **more: Any) -> None:
        merge(plan, checkpoint, target, **more)
        change(target, down_proj=0.97)

    words = ("stages=[export]", "exporter=[gguf]", "exporter.gguf.folder=coarse", "exporter.gguf.quantizations=[q8_0]")
    plan = trained(*words)
    (made,) = export(plan)
    monkeypatch.setattr("framework_plugins.exports.gguf.exporter.merge", wrong)
    (run_dir := plan.run_dir).joinpath(made.path).unlink()  # it would be kept
    with pytest.raises(ExportError, match=r"-merged is not what was trained"):
        export(plan)
    found = json.loads((run_dir / "parity.json").read_text("utf-8"))
    records = {each["name"]: each["problem"] for each in found if each["against"] == "trained"}
    assert records[Path(made.path).name] == ""  # by its own bounds the earlier one passed
    assert [bool(problem) for name, problem in records.items() if name.endswith("-merged")] == [True]


def test_an_interrupt_of_the_comparison_leaves_nothing(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gate.Gate, "check_folder", interrupted)
    plan = trained("stages=[export]", "exporter=[merged]", "exporter.merged.folder=halfway")
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(plan)
    assert not list(plan.run_dir.glob("halfway*"))


def test_a_quantized_file_has_bounds_of_its_own(trained: Callable[..., Plan]) -> None:
    words = ("stages=[export]", "exporter=[gguf]", "exporter.gguf.folder=bounds", "exporter.gguf.quantizations=[q4_0]")
    with pytest.raises(ExportError, match=r"Q4_0\.gguf is not .*: kl is .*, and parity\.quantized_kl=1e-09"):
        export(trained(*words, "exporter.gguf.parity.quantized_kl=1e-9", "exporter.gguf.parity.quantized_top1=0"))


def test_two_steps_change_less_than_a_rounding_and_hide_no_wrong_weights(
    trained: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("trainer.max_steps=2", "trainer.learning_rate=1e-4", "exporter=[gguf]", "exporter.gguf.quantizations=[q4_0]")
    words = (*few, "exporter.gguf.parity.long_row=0", "exporter.gguf.parity.quantized_top1=0")  # its own reference
    plan = dataclasses.replace(trained(*words, "stages=[data,train,export]"), run_dir=tmp_path / "few")
    pipeline.run(plan)
    (file,) = [each for each in read_parity(plan) if each["name"].endswith("Q4_0.gguf") and "share" in each]
    assert file["rounding"] > 1
    assert (file["problem"], round(file["source_share"], 3)) == ("", 1)
    (made,) = records.load(ExportResult, plan.run_dir / "export.json").artifacts
    assert "training changed the answers less than this quantization does" in made.parity

    def export_base(plan: Plan, checkpoint: Path, target: Path, **more: Any) -> None:
        merge(plan, checkpoint, target, **more)
        base = load_file(plan.model.create().fetch(weights=True).folder / "model.safetensors")
        name = "model.safetensors"
        kinds = load_file(target / name)
        save_file({key: base[key].to(kinds[key].dtype) for key in kinds}, target / name, metadata={"format": "pt"})

    monkeypatch.setattr("framework_plugins.exports.gguf.exporter.merge", export_base)
    monkeypatch.setattr(gate.Gate, "check_tensors", lambda *_: None)
    monkeypatch.setattr(gate, "exact_problem", lambda *_: "")  # a bound that such a small change keeps
    monkeypatch.setattr(reference, "weights_problem", lambda *_: "")
    plan.run_dir.joinpath(made.path).unlink()
    again = dataclasses.replace(trained(*words, "stages=[export]"), run_dir=plan.run_dir)
    with pytest.raises(
        ExportError, match=r"Q4_0\.gguf is not .*: the weights that it is made from have 0% of the chan"
    ):
        pipeline.run(again)


def read_parity(plan: Plan) -> list[dict[str, Any]]:
    """Return the comparisons of a run."""
    entries: list[dict[str, Any]] = json.loads((plan.run_dir / "parity.json").read_text(encoding="utf-8"))
    return entries


def test_a_merge_in_bf16_shows_its_raw_agreement_and_may_be_held_to_it(trained: Callable[..., Plan]) -> None:
    words = (
        "stages=[export]",
        "exporter=[merged]",
        "exporter.merged.folder=short",
        "exporter.merged.dtype=bf16",
        "exporter.merged.parity.exact_kl=1",
    )
    (made,) = export(trained(*words, "exporter.merged.parity.exact_top1=0", "exporter.merged.parity.exact_raw_top1=0"))
    records = json.loads((trained().run_dir / "parity.json").read_text(encoding="utf-8"))
    kinds = ("trained", "rounded", "folder")
    record, rounded, folder = (
        each for kind in kinds for each in records if (each["name"], each["against"]) == ("short", kind)
    )
    assert (rounded["problem"], rounded["top1"], rounded["tie_nats"]) == (
        "",
        1,
        0.02,
    )  # the rounding explains all of it
    assert rounded["kl"] < record["kl"] / 100
    assert (folder["problem"], folder["conversations"]) == ("", 4 + 4)
    assert record["format"] == "bfloat16"
    assert 0.02 <= record["tie_nats"] < 0.25  # as far as the rounding moves them
    assert f"top-1 {record['top1']:.2%}" in made.parity
    assert record["top1"] < 1
    with pytest.raises(ExportError, match=r"top-1 is 9\d\.\d\d%, and parity\.exact_raw_top1=1"):
        export(trained(*words, "exporter.merged.parity.exact_raw_top1=1"))
    records = json.loads((trained().run_dir / "parity.json").read_text(encoding="utf-8"))
    (again,) = [each for each in records if (each["name"], each["against"]) == ("short", "trained")]
    assert again["problem"].startswith("top-1 is")


def test_a_file_in_bf16_has_ties_as_wide_as_the_roundings_of_llama_cpp(trained: Callable[..., Plan]) -> None:
    words = ("stages=[export]", "exporter=[gguf]", "exporter.gguf.folder=wide", "exporter.gguf.quantizations=[bf16]")
    loose = ("exact_kl=1", "exact_top1=0", "exact_raw_top1=0")
    plan = trained(*words, *(f"exporter.gguf.parity.{each}" for each in loose))
    export(plan)
    records = json.loads((plan.run_dir / "parity.json").read_text(encoding="utf-8"))
    found = {each["against"]: each for each in records if each["name"].endswith("-BF16.gguf")}
    assert found.keys() == {"trained", "merged", "converted", "chat_template"}
    assert found["trained"]["end_tokens"] == found["merged"]["end_tokens"] == 512
    assert 0.02 <= found["trained"]["tie_nats"] == found["merged"]["tie_nats"] < 0.25


def test_a_merge_in_bf16_is_compared_with_the_trained_weights_rounded_alike(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(*arguments: Any, **more: Any) -> Any:
        return [-logits for logits in rounded(*arguments, **more)]

    rounded = reference_logits.rounded_logits
    monkeypatch.setattr(reference, "rounded_logits", turned)
    words = ("stages=[export]", "exporter=[merged]", "exporter.merged.folder=odd", "exporter.merged.dtype=bf16")
    plan = trained(*words, "exporter.merged.parity.exact_kl=1")
    with pytest.raises(ExportError, match=r"odd is not what was trained, rounded to bf16: "):
        export(plan)


def test_what_rounding_to_bf16_gives_is_what_a_folder_in_bf16_gives(
    trained: Callable[..., Plan], tmp_path: Path
) -> None:
    from framework_plugins.exports.config import Dtype
    from framework_plugins.exports.parity.agreement import compare_logits
    from framework_plugins.exports.parity.check_rows import CheckRow
    from framework_plugins.exports.parity.reference_logits import (
        Placement,
        folder_logits,
        rounded_logits,
        trained_logits,
    )

    rows = [
        CheckRow("", tuple(range(5, 60)), (9,), stopped=False),
        CheckRow("", tuple(range(5, 90)), (), stopped=False, last=8),
    ]
    plan, held = trained("stages=[export]"), Placement("cpu", torch.float32)
    merge(plan, plan.checkpoint, tmp_path / "merged", dtype=Dtype.bf16)
    exact, *_ = trained_logits(plan, plan.checkpoint, rows, held)
    found = list(folder_logits(tmp_path / "merged", rows, held, trust=False))
    rounded, coarser = (
        list(rounded_logits(plan, plan.checkpoint, rows, held, inputs=inputs)) for inputs in (False, True)
    )
    assert [each.shape[0] for each in rounded] == [56, 8]
    for one, two, three, four in zip(rounded, found, exact, coarser, strict=True):
        assert abs(one - two).max() < abs(one - three).max() / 20
        assert abs(four - three).mean() > abs(one - three).mean()
    change(tmp_path / "merged", o_proj=1.01)
    wrong = list(folder_logits(tmp_path / "merged", rows, held, trust=False))
    right, off = (compare_logits(rows, rounded, each, frozenset(), 0.02).kl for each in (found, wrong))
    assert off > 50 * right


def test_weights_that_memory_holds_in_16_bits_are_computed_in_fp32(trained: Callable[..., Plan]) -> None:
    """They are asked together, padded behind: neither logits nor the largest number depend on the others."""
    from framework_plugins.exports.parity.check_rows import CheckRow
    from framework_plugins.exports.parity.reference_logits import Placement, folder_logits, trained_logits

    rows = [CheckRow("", tuple(range(5, end)), (9,), stopped=False) for end in (9, 40, 12)]
    plan, wide, half = trained("stages=[export]"), Placement("cpu", torch.float32), Placement("cpu", torch.bfloat16)
    base = plan.model.create().fetch(weights=True).folder
    (one, largest, _), (two, largest_of_half, _) = (
        trained_logits(plan, plan.checkpoint, rows, held) for held in (wide, half)
    )
    assert largest_of_half == pytest.approx(largest, rel=1e-5)
    for some, others in ((one, two), [list(folder_logits(base, rows, held, trust=False)) for held in (wide, half)]):
        for row, first, second in zip(rows, some, others, strict=True):
            assert first.shape == second.shape
            assert len(first) == len(row.ids)
            assert abs(first - second).max() < 1e-4
            assert abs(first).max() > 0.1


def test_a_model_that_does_not_fit_again_is_not_compared_and_that_is_said(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "find_placement", lambda *_, **__: None)
    (made,) = export(trained("stages=[export]", "exporter=[merged]", "exporter.merged.folder=large"))
    assert (made.notes, made.parity) == ([], "not checked: the trained model does not fit into memory a second time")


def test_a_trained_model_that_gives_no_numbers_is_nothing_to_compare_with(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        logits, *more = compute(*given)
        return [each * float("nan") for each in logits], *more

    compute = reference_logits.trained_logits
    monkeypatch.setattr(reference, "trained_logits", broken)
    told = r"logits of the trained model are not finite at [\d,]+ positions .* set parity\.check=false in the exporter"
    with pytest.raises(ExportError, match=told):
        export(trained("stages=[export]", "exporter=[merged]", "exporter.merged.folder=diverged"))


def test_a_gpu_that_is_full_after_all_leaves_the_comparison_to_the_cpu(
    trained: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:

    compute, asked = reference_logits.trained_logits, []

    def trained_logits(plan: Plan, checkpoint: Path, rows: Any, held: reference_logits.Placement) -> Any:
        asked.append(held.device)
        if held.device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(plan, checkpoint, rows, held)

    monkeypatch.setattr(reference, "trained_logits", trained_logits)

    def find_placement(_: Path, *, gpu: bool = True) -> reference_logits.Placement:
        return reference_logits.Placement("cuda" if gpu else "cpu", torch.float32)

    monkeypatch.setattr(reference, "find_placement", find_placement)
    words = ("stages=[export]", "exporter=[merged]", "exporter.merged.folder=full", "exporter.merged.dtype=fp32")
    (made,) = export(trained(*words))
    assert made.parity.startswith("top-1 100.00% of ")
    assert asked == ["cuda", "cpu"]


def test_fp32_goes_before_bf16_where_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from framework.util.host import HostMemory
    from framework_plugins.exports.parity.reference_logits import Placement, find_placement

    (tmp_path / "model.safetensors").write_bytes(bytes(2000))  # a thousand weights
    for free, dtype in ((5000, torch.float32), (4000, torch.bfloat16), (2000, None)):
        small = HostMemory(9000, free, limited=False)
        monkeypatch.setattr("framework_plugins.exports.parity.reference_logits.host_memory", lambda small=small: small)
        assert find_placement(tmp_path) == (Placement("cpu", dtype) if dtype else None)


def test_a_gpu_compares_where_it_has_room_beside_the_trained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from framework.util.host import HostMemory
    from framework_plugins.exports.parity.reference_logits import Placement, find_placement

    (tmp_path / "model.safetensors").write_bytes(bytes(2000))
    host = HostMemory(9000, 4000, limited=False)  # 16 bits fit
    monkeypatch.setattr(reference_logits, "host_memory", lambda: host)
    monkeypatch.setattr(reference_logits, "LOGITS_BYTES", 100)
    gpu = {"is_initialized": True, "memory_allocated": 7000, "memory_reserved": 8000, "mem_get_info": (5000, 20_000)}
    for name, value in gpu.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    for fraction, expected in (
        (1.0, Placement("cuda", torch.float32)),  # 5000 free, and 1000 of the 8000 that nothing lies in
        (0.5, Placement("cuda", torch.bfloat16)),
        (0.4, Placement("cpu", torch.bfloat16)),
    ):
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda fraction=fraction: fraction)
        assert find_placement(tmp_path) == expected
    assert find_placement(tmp_path, gpu=False) == Placement("cpu", torch.bfloat16)
