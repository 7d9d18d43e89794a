"""What goes into a model and what comes out, on their way between stages.

Every sample's output is a matrix float32 [rows, width], whatever the task: one row for a classifier or an embedder, one
per token for a tagger. Rows of padding are never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slm_export.records import record

Array = npt.NDArray[np.float32]
Matrices = tuple[Array, ...]


@record
class Step:
    """One token of the reference's answer, and what of a vocabulary is compared there: nothing where it is forced."""

    token: int
    compared: tuple[int, ...] = ()  # the reference's best tokens, best first
    refused: tuple[int, ...] = ()  # tokens that generation rules out


@record
class Continued:
    """What the reference writes, greedily, after the sample's first `after` tokens; shown, never judged."""

    after: int
    ids: tuple[int, ...]


@record
class Tokens:
    """One sample as the model takes it, unpadded.

    `token_type_ids` tell the two texts of a pair apart, in models that want it. `positions` are the tokens whose
    outputs answer, where not all do: of a tagger's sample the first token of each word (-1 for a word without one),
    of a masked text the masks, with the ids that were there as `expected` (-1 where unknown), of a causal model's text
    the tokens behind which `steps` are, if not the last ones. `spans` say for each
    token which characters of a question's `context` it is, -1 and -1 where it is none of them. `steps` are the
    reference's answer where the task is to generate one. `written` is the text whose ids they are, without special
    tokens added, where it is not the sample's own: a chat's, by its template.
    """

    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    expected: tuple[int, ...] | None = None
    spans: tuple[tuple[int, ...], ...] | None = None
    context: str | None = None
    steps: tuple[Step, ...] | None = None
    written: str | None = None
    continued: Continued | None = None


@record
class Inputs:
    """What models are run on: the evaluation samples; probes of one token, a typical sample and the maximum length; and
    the evaluation rows that lowering is judged by."""

    evaluation: tuple[Tokens, ...]
    probes: tuple[Tokens, ...]
    lowering_rows: tuple[int, ...]


@record
class Outputs:
    """What one model gave for the evaluation samples, and for the probes.

    `batched_probes` are the same probes run as one padded batch, where the artifact takes batches.
    """

    evaluation: Matrices
    probes: Matrices
    batched_probes: Matrices | None = None
    said: tuple[tuple[int, ...], ...] | None = (
        None  # token ids of each evaluation sample's answer, where it is generated
    )


def save_outputs(path: Path, outputs: Outputs) -> None:
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name in ("evaluation", "probes", "batched_probes"):
        matrices = getattr(outputs, name)
        if matrices is not None:
            arrays[f"{name}.shapes"] = np.array([m.shape for m in matrices], np.int64).reshape(-1, 2)
            arrays[f"{name}.values"] = np.concatenate([m.ravel() for m in matrices] or [np.zeros(0, np.float32)])
    if outputs.said is not None:
        arrays["said.lengths"] = np.array([len(ids) for ids in outputs.said], np.int64)
        arrays["said.ids"] = np.array([i for ids in outputs.said for i in ids], np.int64)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_outputs(path: Path) -> Outputs:
    with np.load(path, allow_pickle=False) as file:
        names = [n.removesuffix(".shapes") for n in file.files if n.endswith(".shapes")]
        said = _answers(file["said.lengths"], file["said.ids"]) if "said.ids" in file.files else None
        return Outputs(**{n: _matrices(file[f"{n}.shapes"], file[f"{n}.values"]) for n in names}, said=said)


def _answers(lengths: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    ends = np.cumsum(lengths)
    return tuple(tuple(ids[end - n : end].tolist()) for n, end in zip(lengths, ends, strict=True))


def _matrices(shapes: npt.NDArray[np.int64], values: Array) -> Matrices:
    ends = np.cumsum(shapes.prod(axis=1))
    return tuple(
        values[end - rows * width : end].reshape(rows, width) for (rows, width), end in zip(shapes, ends, strict=True)
    )


def all_rows(matrices: Sequence[Array], *, fill: float = 0.0) -> Array:
    """Every row of every matrix [rows, widest]; narrower ones are filled up."""
    if not matrices:
        return np.zeros((0, 0), np.float32)
    width = max(m.shape[1] for m in matrices)
    return np.concatenate([np.pad(m, ((0, 0), (0, width - m.shape[1])), constant_values=fill) for m in matrices])
