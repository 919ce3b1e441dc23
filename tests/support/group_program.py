"""One process of a group that an outer torchrun starts: `torchrun … group_program.py WORDS…`, or a process alone.

As `python -m framework` does, but `launch=fsdp2` is not refused on a CPU, where `group_plugin` lets it start.
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext

from framework import FrameworkError, testing
from framework.api.protocols import Launcher
from framework.api.registry import load_file as load_plugin
from framework.plan.make import make_plan
from framework.rundir.folder import locked
from framework.util.errors import Interrupted
from tests.support import group_plugin
from tests.support.training import chosen

SHARDS = "launch.dp_shard_size="
"""A setting that `launch=ddp` does not have."""


def main() -> int:
    words = sys.argv[1:]
    load_plugin(group_plugin.__file__)
    ddp = ["launch=ddp" if word == "launch=fsdp2" else word for word in words if not word.startswith(SHARDS)]
    sizes = [int(word.removeprefix(SHARDS)) for word in words if word.startswith(SHARDS)]
    more = {"dp_shard_size": sizes[0]} if sizes else {}
    try:
        plan = make_plan(testing.compose(ddp), overrides=tuple(words))
        if ddp != words:
            plan = dataclasses.replace(plan, launch=chosen("launch", "fsdp2", **vars(plan.launch.config), **more))
        launcher: Launcher = plan.launch.create()
        with locked(plan.run_dir) if plan.launch.config.writes() else nullcontext():
            launcher.launch(plan)
    except FrameworkError as error:
        print(f"refused: {error}", file=sys.stderr)  # noqa: T201 - as the program does
        return 2
    except Interrupted as error:
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
