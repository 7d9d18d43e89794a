"""manifest.json and golden.json: the contract that apps and scripts read. docs/manifest.md describes every field."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from slm_export import tasks
from slm_export.artifact import Artifact, FileRecord
from slm_export.errors import VerificationError
from slm_export.names import FORMATS
from slm_export.outputs import Step
from slm_export.pruning.facts import PruningFacts
from slm_export.records import from_json, read_json, record, to_json
from slm_export.requirements import EXPORT_NEEDS, installed_version

SCHEMA = 1
Rows = tuple[tuple[float, ...], ...]


@record
class SourceEntry:
    kind: str
    name: str
    hub_id: str | None
    revision: str | None
    architecture: str
    sha256: str
    license: str | None
    adapter: dict[str, Any] | None = None  # what was merged, and into what
    files: dict[str, str]


@record
class TokenizerEntry:
    files: tuple[str, ...]
    chat_template: str | None
    chat: dict[str, Any] | None = None  # a chat.Chat, or {"refused": why}
    truncation: dict[str, Any]
    padding: dict[str, Any]


@record
class ArtifactEntry:
    """An artifact as the manifest lists it: what it is, the thresholds it was judged by, and the verdict."""

    artifact: Artifact
    thresholds: dict[str, float]
    verdict: str


@record
class Sizes:
    """Bytes of all files but the manifest: each deflated by itself (zlib level 6), as app stores send them; and as they
    are."""

    download_bytes: int
    installed_bytes: int


@record
class Manifest:
    name: str
    target: str
    task: str  # Optimum's name
    head: str | None = None  # the kind of head, where a task has several
    labels: tuple[str, ...]
    max_length: int
    task_settings: dict[str, Any]  # what an app must know beside the labels
    source: SourceEntry
    tokenizer: TokenizerEntry
    pruning: PruningFacts | None = None  # what was taken away before quantization
    calibration: str | None  # path of the calibration set's manifest
    artifacts: tuple[ArtifactEntry, ...]
    files: tuple[FileRecord, ...]  # every file of the bundle but the artifacts' and this manifest
    versions: dict[str, str]
    sizes: Sizes | None = None
    golden: str = "golden.json"
    parity: str = "parity.json"


def task_module(manifest: Manifest) -> ModuleType:
    return tasks.get("/".join(filter(None, (manifest.task, manifest.head))))


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as written: schema first, and each artifact's entry flat."""
    data = to_json(manifest)
    data["artifacts"] = [
        {**to_json(e.artifact), "thresholds": to_json(e.thresholds), "verdict": e.verdict} for e in manifest.artifacts
    ]
    return {"schema": SCHEMA, **data}


def read_manifest(bundle: Path) -> Manifest:
    """Raises VerificationError if there is no manifest, it is not JSON, or lacks a field of schema 1."""
    path = bundle / "manifest.json"
    try:
        data = read_json(path)
        if data["schema"] != SCHEMA:
            raise VerificationError(f"{path} has schema {data['schema']}, this slm-export reads {SCHEMA}")
        if "models" in data:
            folders = ", ".join(str(bundle / m["name"]) for m in data["models"])
            raise VerificationError(f"{bundle} holds several models", next_step=f"name one of them: {folders}")
        entries = [{"artifact": e, "thresholds": e["thresholds"], "verdict": e["verdict"]} for e in data["artifacts"]]
        manifest = from_json(Manifest, {**data, "artifacts": entries})
    except FileNotFoundError as err:
        raise VerificationError(f"{bundle} is no bundle: it has no manifest.json", where=str(path)) from err
    except KeyError as err:
        raise VerificationError(f"{path} lacks {err.args[0]!r}", where=str(path)) from err
    except (ValueError, TypeError, AttributeError) as err:
        raise VerificationError(f"{path} is not a manifest: {err}", where=str(path)) from err
    unknown = [e.artifact.format for e in manifest.artifacts if e.artifact.format not in FORMATS]
    if unknown:
        raise VerificationError(f"{path} has an artifact of unknown format {unknown[0]!r}", where=str(path))
    if not manifest.artifacts:
        raise VerificationError(f"{path} lists no artifact", where=str(path))
    return manifest


def versions(formats: Iterable[str]) -> dict[str, str]:
    """slm-export's own version, and those of the libraries that make artifacts of `formats`."""
    needs = {dist: module for format in formats for dist, module in EXPORT_NEEDS[format].items()}
    return {d: installed_version(d, m) for d, m in {"slm-export": "slm_export", **needs}.items()}


@record
class GoldenSample:
    """`answer` is the reference's, as the task gives it. `columns` are those kept of each output; None: all. The rest
    is as in outputs.Tokens."""

    text: str
    special_tokens: bool = True  # whether the tokenizer adds its own; a chat's text has them
    pair: str | None = None
    words: tuple[str, ...] = ()
    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    spans: tuple[tuple[int, ...], ...] | None = None
    columns: tuple[int, ...] | None = None
    steps: tuple[Step, ...] | None = None
    answer: Any
    reference: Rows


@record
class GoldenOutputs:
    """What an artifact gave for each golden sample, and how far another host's output may lie from it."""

    outputs: tuple[Rows, ...]
    min_cosine: float
    max_abs_error: float | None = None  # of outputs of one number


@record
class Golden:
    outputs: tuple[str, ...]  # the outputs' names
    samples: tuple[GoldenSample, ...]
    artifacts: dict[str, GoldenOutputs]  # by the artifact's path


def read_golden(path: Path) -> Golden:
    """Raises VerificationError if the file is missing or not golden vectors."""
    try:
        golden = from_json(Golden, read_json(path))
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as err:
        raise VerificationError(
            f"{path} holds no golden vectors: {type(err).__name__}: {err}", where=str(path)
        ) from err
    if not golden.samples:
        raise VerificationError(f"{path} holds no golden vectors: there are no samples", where=str(path))
    return golden
