"""`exporter=gguf_adapter`: only the LoRA, for a GGUF file of its base."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from framework import FrameworkError, Plan, Stage
from framework.api import Artifact, ExportContext, Exporter, Model
from framework_plugins.exports.config import GgufAdapterExporterConfig
from framework_plugins.exports.disk_and_memory import check_disk_space
from framework_plugins.exports.gguf import checks
from framework_plugins.exports.gguf.convert.lora import check_plain
from framework_plugins.exports.gguf.exporter import LOG, put_without_weights, scratch_folder
from framework_plugins.exports.llama.process import run_in_process
from framework_plugins.exports.merge.adapter_files import AdapterFolder
from framework_plugins.exports.merge.tensor_names import MetaModel
from framework_plugins.lib.model_settings import check_base, read_adapter_config
from framework_plugins.lib.weight_files import ADAPTER_WEIGHTS, read_headers

ALL_LINEAR = "all-linear"
"""What peft calls all linear layers but the output head."""


class GgufAdapterExporter(Exporter):
    """Converts the checkpoint of a LoRA training."""

    reusable = True

    def __init__(self, config: GgufAdapterExporterConfig) -> None:
        self.config = config

    def check(self, model: Model, plan: Plan) -> None:
        """Check that the converter can store a LoRA for each adapted layer.

        Raises:
            FrameworkError: llama.cpp stores some in a way that a LoRA cannot follow.
        """
        del model
        if Stage.train not in plan.stages:
            return
        with TemporaryDirectory() as scratch:
            name = put_without_weights(plan, Path(scratch, "model"))
            refused = run_in_process(
                f"exporter=gguf_adapter: reading model {name}",
                "framework_plugins.exports.gguf.convert.lora:refused_layers", Path(scratch, LOG),
                base=str(Path(scratch, "model")), tree=self.config.llama_cpp_dir,
            )  # fmt: skip
        targets = {target.rpartition(".")[2] for target in plan.adapter.config.target_modules}
        left_out = {layer.rpartition(".")[2] for layer in plan.adapter.config.args.exclude_modules}
        if wrong := [
            layer for layer in refused if (ALL_LINEAR in targets or layer in targets) and layer not in left_out
        ]:
            raise FrameworkError(
                f"exporter=gguf_adapter: llama.cpp stores {', '.join(wrong)} of model {name} in a way that a LoRA "
                f"cannot follow: set exporter=[gguf], which merges it, or "
                f"adapter.args.exclude_modules=[{','.join(sorted({*wrong, *left_out}))}]"
            )

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Write the file.

        Raises:
            FrameworkError: the checkpoint is not a plain LoRA, is corrupted or of another base, the folder holds files
                of somebody else, or the disk has no room.
        """
        del model
        folder = context.run_dir / self.config.folder
        name = self.config.file_name or str(context.config["name"])
        if problem := checks.folder_problem(folder, name):
            raise FrameworkError(problem)
        weights = context.checkpoint / ADAPTER_WEIGHTS
        if not weights.is_file():
            raise FrameworkError(
                f"{context.checkpoint} holds no {ADAPTER_WEIGHTS}: only a LoRA training makes a GGUF adapter"
            )
        read_headers([weights])  # raises where the file is damaged
        location = context.plan.model.create().fetch(weights=False)
        check_plain(read_adapter_config(context.checkpoint))
        adapter = AdapterFolder(context.checkpoint)
        check_base(adapter.config, f"the adapter in {adapter.folder}", location.name)
        adapter.weight_deltas(MetaModel(location.folder, trust_remote_code=context.plan.model.config.trust_remote_code))
        check_disk_space(folder, weights.stat().st_size)
        with scratch_folder(context.run_dir) as scratch:
            converted = scratch / "adapter.gguf"
            run_in_process(
                "the conversion of the adapter",
                "framework_plugins.exports.gguf.convert.lora:convert", context.run_dir / LOG,
                adapter=str(context.checkpoint), base=str(location.folder), target=str(converted),
                dtype=self.config.dtype.value, tree=self.config.llama_cpp_dir,
            )  # fmt: skip
            folder.mkdir(exist_ok=True)
            final = converted.replace(folder / checks.file_name(name, checks.ADAPTER_SUFFIX))
        return [Artifact("gguf_adapter", f"{folder.name}/{final.name}", final.stat().st_size)]
