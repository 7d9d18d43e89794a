"""Stage "export": one format's artifact, and its weight-only twin; or the twin of an artifact that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slm_export import exporters, sources
from slm_export.artifact import Artifact
from slm_export.exporters.common import ExportRequest
from slm_export.pruning import stored
from slm_export.quantization import checkpoints
from slm_export.quantization import compressed as compression
from slm_export.quantization.compressed import Compressed
from slm_export.quantplan import QuantPlan
from slm_export.records import from_json, record, to_json
from slm_export.sources import SourceInfo


@record
class ExportJob:
    format: str
    source: SourceInfo
    plan: QuantPlan
    request: ExportRequest
    tensors: str  # the integers, as `prepare` left them
    pruned: str | None = None  # what it left of a pruned reference
    out: str
    artifact: Artifact | None = None  # whose twin is to be made


def run(data: dict[str, Any], progress: Callable[[str, int, int], None]) -> dict[str, Any]:
    job = from_json(ExportJob, data)
    progress("loading the reference", 0, 1)
    reference = sources.load(job.source, max_length=job.request.max_length)
    if job.pruned is not None:
        stored.restore(reference.module, Path(job.pruned))
    rounded = checkpoints.load(Path(job.tensors))
    compression.put_floats(reference.module, rounded.floats)
    compressed = Compressed(module=reference.module, plan=job.plan, tensors=rounded.tensors, floats=rounded.floats)
    progress("lowering", 0, 1)
    exporter, out = exporters.get(job.format), Path(job.out)
    if job.artifact is not None:
        return {"twin": to_json(exporter.twin(compressed, job.request, job.artifact, out))}
    exported = exporter.export(compressed, job.request, out)
    return {"artifact": to_json(exported.artifact), "twin": to_json(exported.twin)}
