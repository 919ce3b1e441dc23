"""`exporter=push`: what the other exporters made goes to a repository on the Hugging Face Hub.

The token comes from the login or from HF_TOKEN, never from the config. Everything goes in one commit, so a repository
has all of it or is as it was.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import disable_progress_bars

from framework import FrameworkError, Plan, Stage
from framework.api import Artifact, ExportContext, Exporter, Model, display_path, summarize_error, write_atomically
from framework_plugins.exports import export_folder
from framework_plugins.exports.config import PushExporterConfig, is_repo_id
from framework_plugins.exports.export_folder import README, RUN_CONFIG
from framework_plugins.exports.hub.base import base_id, id_in_card, unknown_base
from framework_plugins.lib.hub import HTTP_ERROR
from framework_plugins.lib.network import reachable
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

PUSH_FILE = "push.json"
BASE_KEY = "base_model_name_or_path"
MEGABYTE = 1e6
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"


class PushExporter(Exporter):
    """A commit on the Hub."""

    after = ("adapter", "merged", "gguf", "gguf_adapter", "ollama", "model_card")

    def __init__(self, config: PushExporterConfig) -> None:
        self.config = config

    def check(self, model: Model, plan: Plan) -> None:  # noqa: ARG002 - the base counts
        """Refuse to push an adapter without the id of its base.

        Raises:
            FrameworkError: the id is unknown.
        """
        trains_adapter = "adapter" in self.config.what and not plan.adapter.config.trains_all
        if not trains_adapter or plan.external_checkpoint:
            return
        folders = () if Stage.train in plan.stages else plan.run_dir.glob("*/")
        is_local = Path(plan.model.create().fetch(weights=False).name).is_dir()
        if is_local and not any(map(id_in_card, folders)) and not base_id(plan):
            raise FrameworkError(unknown_base("exporter.push: the adapter", plan))

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:  # noqa: ARG002 - files are pushed
        """Push, or list the files that would be pushed, and write `push.json`.

        Raises:
            FrameworkError: there is nothing to push, no token or no network, or the Hub refuses.
        """
        files = files_to_push(self.config.what, context)
        sizes = {path: _size(content) for path, content in files.items()}
        if self.config.dry_run:
            _print_files(self.config.repo_id, sizes)
        commit = "" if self.config.dry_run else self._push(files, context)
        record = {"repo_id": self.config.repo_id, "dry_run": self.config.dry_run, "commit": commit, "files": sizes}
        file = context.run_dir / PUSH_FILE
        write_atomically(file, json.dumps(record, indent=1) + "\n")
        return [Artifact("push", PUSH_FILE, file.stat().st_size)]

    def _push(self, files: Mapping[str, Path | bytes], context: ExportContext) -> str:
        """Return the address of the commit."""
        setting = f"exporter.push.repo_id={self.config.repo_id}"
        folder = display_path(context.run_dir)
        again = (
            f"Nothing was lost: {folder} has all exports, and `python -m framework stages=[export] run_dir={folder}` "
            "pushes them again without exporting again"
        )
        token = get_token()
        if token is None:
            raise FrameworkError(f"{setting}: there is no token: {LOGIN}. {again}")
        api = HfApi(token=token)
        if not reachable(api.endpoint):
            raise FrameworkError(f"{setting}: {api.endpoint} cannot be reached. {again}")
        if not sys.stderr.isatty():
            disable_progress_bars()
        try:
            self._prepare(api)
            operations = [CommitOperationAdd(path, content) for path, content in files.items()]
            commit = api.create_commit(
                self.config.repo_id, operations, commit_message=f"Add {', '.join(self.config.what)}"
            )
        except HfHubHTTPError as error:
            raise FrameworkError(f"{setting}: {_refusal_text(error)}. {again}") from error
        except (HTTP_ERROR, OSError, ValueError, RuntimeError) as error:  # the last wraps that of one file
            raise FrameworkError(
                f"{setting}: the upload was interrupted ({summarize_error(error.__cause__ or error)}). {again}"
            ) from error
        return str(commit.commit_url)

    def _prepare(self, api: HfApi) -> None:
        """Create the repository, or check the existing one.

        Raises:
            FrameworkError: it is public, and nobody said that it may be.
        """
        try:
            repository = api.repo_info(self.config.repo_id)
        except RepositoryNotFoundError:  # or somebody else's private one: then making it is refused
            api.create_repo(self.config.repo_id, private=self.config.private)
            return
        if self.config.private and not repository.private:
            raise FrameworkError(
                f"exporter.push.repo_id={self.config.repo_id} already exists and is public: set "
                "exporter.push.private=false to push into it, or choose another name"
            )


def files_to_push(kinds: Sequence[str], context: ExportContext) -> dict[str, Path | bytes]:
    """Return the files to push, by their paths in the repository.

    One kind lies at the top; several keep their folders, and the card of the first is the repository's.

    Raises:
        FrameworkError: a kind was not exported, or an adapter's base is only on this machine.
    """
    files: dict[str, Path | bytes] = {}
    for kind in kinds:
        paths = [context.run_dir / artifact.path for artifact in context.artifacts if artifact.kind == kind]
        if not paths:
            raise FrameworkError(
                f"exporter.push.what={kind}: nothing of that kind was exported, add it to exporter=[…]"
            )
        for file in dict.fromkeys(file for artifact_path in paths for file in _artifact_files(artifact_path)):
            top = paths[0] if paths[0].is_dir() else paths[0].parent
            path = file.relative_to(top if len(kinds) == 1 else context.run_dir).as_posix()
            files[path] = _set_hub_base(file, context.plan) if file.name == ADAPTER_CONFIG else file
            if file == top / README:
                files.setdefault(README, file)
    return files


def _artifact_files(path: Path) -> Iterator[Path]:
    """Give the files of an artifact; the config of the run stays here, since it names folders of this machine."""
    if path.is_dir():
        yield from sorted(file for file in path.rglob("*") if file.is_file() and file.name != RUN_CONFIG)
        return
    yield path
    if (path.parent / README).is_file():
        yield path.parent / README


def _set_hub_base(file: Path, plan: Plan) -> Path | bytes:
    """Return the settings of an adapter, with the base by its id on the Hub: a folder of this machine tells nobody.

    Raises:
        FrameworkError: the id is not known.
    """
    settings = export_folder.read_json(file)
    if is_repo_id(str(settings.get(BASE_KEY, ""))):
        return file
    base = id_in_card(file.parent) or base_id(plan)
    if not base:
        raise FrameworkError(unknown_base(str(file), plan))
    return (json.dumps({**settings, BASE_KEY: base, "revision": None}, indent=2) + "\n").encode()


def _size(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _print_files(repo_id: str, sizes: Mapping[str, int]) -> None:
    """Print the files that would be pushed."""
    lines = [f"  {path}  {size / MEGABYTE:,.2f} MB" for path, size in sizes.items()]
    total = sum(sizes.values()) / MEGABYTE
    print(f"would be pushed to {repo_id}, {total:,.2f} MB:", *lines, sep="\n")  # noqa: T201 - the answer to dry_run


def _refusal_text(error: HfHubHTTPError) -> str:
    """Return the message for a refusal of the Hub."""
    match error.response.status_code:
        case 401:
            return f"the Hub does not accept the token: {LOGIN}"
        case 403 | 409:
            return "the repository or its owner's name belongs to someone else, or the token may not write"
    lines = (error.server_message or "").strip().splitlines()
    return f"the Hub refuses ({error.response.status_code}{f': {lines[0]}' if lines else ''})"
