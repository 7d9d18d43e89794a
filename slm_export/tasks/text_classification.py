"""Text classification: texts to logits over labels; the answer is the label with the largest logit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

# Names and dimensions, in the order of a .pte's arguments. "batch" and "sequence" vary.
INPUTS = {"input_ids": ("batch", "sequence"), "attention_mask": ("batch", "sequence")}
OUTPUTS = {"logits": ("batch", "labels")}
BATCH = 32
MASKED = -1e4  # added to the scores of padding; exp() of it is 0 in float32, and it survives int8 and float16


def graph(module: Any) -> Any:
    """The torch module that exporters lower: (input_ids, attention_mask), both int64 [batch, sequence], to
    {"logits": float32 [batch, labels]}.

    It hands the model a ready additive mask [batch, 1, 1, sequence], positions and segment ids as constants of the
    shape: transformers' own mask code lowers to integer index arithmetic that quantizers and old runtimes trip over.
    Segment ids are 0, as for any single text.
    """
    import inspect

    import torch

    accepted = inspect.signature(module.forward).parameters
    positions = "position_ids" in accepted and module.config.model_type in ("bert", "electra")
    segments = "token_type_ids" in accepted

    class ClassifierGraph(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
            extra = {}
            if positions:
                extra["position_ids"] = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
            if segments:
                extra["token_type_ids"] = torch.zeros_like(input_ids[:1])
            mask = ((1.0 - attention_mask.to(torch.float32)) * MASKED)[:, None, None, :]
            return {"logits": self.model(input_ids=input_ids, attention_mask=mask, **extra).logits}

    return ClassifierGraph(module).eval()


def run(
    module: Any, ids: Sequence[Sequence[int]], *, progress: Callable[[int], None] | None = None
) -> npt.NDArray[np.float32]:
    """Logits [samples, labels] of a transformers model, eager.

    Texts of one length run together, so there is no padding and every sample sees what it would see alone.
    """
    import torch

    out: dict[int, npt.NDArray[np.float32]] = {}
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    with torch.inference_mode():
        for _, same in groupby(order, key=lambda i: len(ids[i])):
            indices = list(same)
            for start in range(0, len(indices), BATCH):
                part = indices[start : start + BATCH]
                tokens = torch.tensor([list(ids[i]) for i in part], dtype=torch.int64)
                logits = module(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits
                out.update(zip(part, logits.float().numpy(), strict=True))
                if progress:
                    progress(len(out))
    return np.stack([out[i] for i in range(len(ids))])


def answers(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The label index of each row of [samples, labels]; a row with NaN answers -1."""
    best = np.argmax(logits, axis=-1)
    return np.where(np.isnan(logits).any(axis=-1), -1, best).astype(np.int64)
