"""Outputs on their way between stages: arrays in an .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from slm_export.records import record

Array = npt.NDArray[np.float32]


@record
class Outputs:
    """What one model gave: evaluation rows [samples, outputs], and the probes [probes, outputs].

    `batched_probes` are the same probes run as one padded batch, where the artifact takes batches.
    """

    evaluation: Array
    probes: Array
    batched_probes: Array | None = None


def save_outputs(path: Path, outputs: Outputs) -> None:
    arrays = {k: v for k in ("evaluation", "probes", "batched_probes") if (v := getattr(outputs, k)) is not None}
    with path.open("wb") as file:
        np.savez(file, **arrays)


def load_outputs(path: Path) -> Outputs:
    with np.load(path, allow_pickle=False) as file:
        return Outputs(**{k: file[k] for k in file.files})
