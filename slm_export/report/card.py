"""MODEL_CARD.md: the bundle for people who meet it on a shelf, in the form that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator

from slm_export import tasks
from slm_export.names import METRICS, SCHEMES
from slm_export.parity.judge import show
from slm_export.report.markdown import table
from slm_export.report.rows import HEADER, cells, row
from slm_export.results import FormatResult, RunResult

LIBRARIES = {"executorch": "executorch", "tflite": "litert", "onnx": "onnx"}  # the hub's tags


def model_card(result: RunResult) -> str:
    return f"---\n{_front_matter(result)}\n---\n" + "\n".join(_body(result)) + "\n"


def _front_matter(result: RunResult) -> str:
    from huggingface_hub import ModelCardData

    plan, passed = result.plan, _passed(result)
    name, _ = tasks.split(plan.source.task)
    data = ModelCardData(
        model_name=plan.source.name,
        license=plan.source.license,
        base_model=plan.source.hub_id,
        base_model_relation="quantized" if plan.source.hub_id else None,
        pipeline_tag=name,
        tags=sorted({"slm-export", *(LIBRARIES[f.format] for f in passed)}),
        ignore_metadata_errors=True,
    )
    return str(data.to_yaml()).strip()


def _passed(result: RunResult) -> list[FormatResult]:
    return [f for f in result.formats if f.error is None]


def _body(result: RunResult) -> Iterator[str]:
    plan, source = result.plan, result.plan.source
    yield ""
    yield f"# {source.name}, for {plan.profile.summary}"
    yield ""
    samples = f"{len(plan.evaluation.samples)} samples of {plan.evaluation.file}"
    yield f"{source.architecture} for {source.task}, up to {plan.shape.max_length} tokens, quantized and exported by"
    yield "slm-export. Each artifact below ran in its own runtime on the computer that made it, not on a device,"
    yield f"and was compared with the float model on {samples}."
    yield ""
    yield from table([cells(HEADER), *(cells(row(f)) for f in _passed(result))])
    for done in _passed(result):
        yield ""
        yield f"## {done.format}, {done.scheme}"
        yield ""
        yield f"{SCHEMES[done.scheme]}."
        yield ""
        yield from _answers(done)
    yield ""
    yield "## Where it comes from"
    yield ""
    license = source.license or "not stated"
    yield f"- Source: {source.hub_id or source.name}, SHA-256 {source.sha256}; licence: {license}."
    if source.adapter is not None:
        yield f"- A {source.adapter.kind} adapter merged into {source.adapter.base_name}."
    if plan.calibration is not None:
        yield f"- Calibration texts: {plan.calibration.file}, SHA-256 {plan.calibration.sha256}."
    yield f"- Texts that judged: {plan.evaluation.file}, SHA-256 {plan.evaluation.sha256}."
    yield ""
    yield "## What it is not"
    yield ""
    yield "The numbers say how far the artifacts are from the float model, not how good that model is. What its makers"
    yield "say of its uses, its biases and its limits holds for the artifacts too. Texts unlike those that judged may"
    yield "change more."
    yield ""
    yield "`report.md` has every measurement, `sbom.cdx.json` the parts, and `slm-export verify` checks all of it."


def _answers(done: FormatResult) -> Iterator[str]:
    assert done.report is not None
    measured = [[METRICS[m][1], show(v), _bound(done, m)] for m, v in done.report.answers.items() if m in METRICS]
    yield from table([["metric", "value", "threshold"], *measured])


def _bound(done: FormatResult, metric: str) -> str:
    assert done.report is not None
    limits = done.report.limits
    return f"{METRICS[metric][0]} {show(limits[metric])}" if metric in limits else ""
