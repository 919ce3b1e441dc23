"""The kinds of cases: how each draws them."""

from collections.abc import Mapping

from hypothesis.strategies import SearchStrategy

from benchmarks.fuzz.case import Case
from benchmarks.fuzz.kinds import (
    adapter_folders,
    command_lines,
    data_files,
    environments,
    launches,
    methods,
    model_folders,
    named_code,
    pieces,
    python_calls,
    queues,
    rollouts,
    run_folders,
    stores,
    strangers,
    yaml_structure,
)

KINDS: Mapping[str, SearchStrategy[Case]] = {
    **pieces.KINDS,
    "data_files": data_files.CASES,
    "yaml_structure": yaml_structure.CASES,
    "model_folders": model_folders.CASES,
    "adapter_folders": adapter_folders.CASES,
    "run_folders": run_folders.CASES,
    "environments": environments.CASES,
    "command_lines": command_lines.CASES,
    **methods.KINDS,
    "stores": stores.CASES,
    "launches": launches.CASES,
    "rollouts": rollouts.CASES,
    "strangers": strangers.CASES,
    "python_calls": python_calls.CASES,
    "queues": queues.CASES,
    "named_code": named_code.CASES,
}
