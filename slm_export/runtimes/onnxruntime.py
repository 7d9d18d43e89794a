"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from slm_export.artifact import Artifact

os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class Session:
    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for name, value in settings.items():
            options.add_session_config_entry(name, value)
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [o.name for o in self._session.get_outputs()]

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(self._names, self._session.run(None, inputs), strict=True))


def open(path: Path, artifact: Artifact) -> Any:
    """A session; for an encoder-decoder a generation.Decoder, `path` being its decoder's; for a causal model a
    text_generation.Session. With the options that the artifact's runtime record names."""
    session = partial(Session, settings=artifact.runtime.options)
    if len(artifact.parts) == 1:
        from slm_export.runtimes.onnxruntime_causal import CausalSession

        return CausalSession(session(path), artifact)
    if artifact.parts:
        from slm_export.runtimes.onnxruntime_seq2seq import Decoder

        return Decoder([path.with_name(Path(part.path).name) for part in artifact.parts], artifact, session)
    return session(path)


def load() -> None:
    import onnxruntime  # noqa: F401


def version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
