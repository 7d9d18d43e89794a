"""Part of stage "prepare": the reference pruned and healed, and what is left of it on disk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from slm_export.distillation import BY_SAMPLES, BY_TOKENS
from slm_export.outputs import Tokens
from slm_export.pruning import stored
from slm_export.pruning.asked import Asked
from slm_export.pruning.facts import PruningFacts, facts
from slm_export.pruning.healing import heal
from slm_export.pruning.prune import Prunable, Pruned, prune
from slm_export.pruning.sparse import deflated
from slm_export.pruning.surgery import apply
from slm_export.sources import Reference
from slm_export.tasks import CAUSAL

Progress = Callable[[str, int, int], None]


def slim(
    reference: Reference,
    task: ModuleType,
    asked: Asked,
    prunable: Prunable,
    *,
    calibration: Sequence[Tokens],
    texts: Sequence[Tokens],
    path: Path,
    progress: Progress,
) -> tuple[Any, PruningFacts]:
    """The pruned module, float32, healed with `texts` and stored at `path`, and what is to be told of it."""
    made = prune(reference.module, task, asked, calibration, progress, prunable)
    healing = None
    if asked.passes:
        healing = heal(
            made.module,
            reference.module,
            task,
            texts,
            passes=asked.passes,
            masks=made.masks,
            hidden=made.hidden,
            batching=BY_TOKENS if reference.task in CAUSAL else BY_SAMPLES,
            progress=partial(progress, "healing by distillation"),
        )
    stored.save(made.module, reference.module, made.pruning, path)
    told = facts(
        asked,
        reference.module,
        made,
        learned_by=task.TAUGHT_BY,
        healing=healing,
        deflated=_deflated(reference.module, made) if made.masks else None,
    )
    return made.module, told


def _deflated(module: Any, made: Pruned) -> Any:
    """Beside the same parts without zeros and unhealed, so that zeros alone make the difference."""
    whole = copy.deepcopy(module)
    apply(whole, made.pruning)
    return deflated(whole, made.module, made.masks)
