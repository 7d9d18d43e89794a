"""A pruned model on disk, between stages: what goes, and the float parameters that are not the reference's."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from slm_export.pruning.surgery import Pruning, apply
from slm_export.quantization.compressed import put_floats
from slm_export.records import from_json, to_json


def save(module: Any, reference: Any, pruning: Pruning, path: Path) -> None:
    """`module` is what the reference became by `pruning` and whatever was done to its parameters since."""
    import torch
    from safetensors.torch import save_file

    smaller = copy.deepcopy(reference)
    apply(smaller, pruning)
    before = dict(smaller.named_parameters())
    changed = {
        n: p.detach().contiguous() for n, p in module.named_parameters() if not torch.equal(p.detach(), before[n])
    }
    save_file(changed, path, metadata={"pruning": json.dumps(to_json(pruning))})


def restore(reference: Any, path: Path) -> None:
    """Make a freshly loaded reference the pruned model, in place."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        pruning = from_json(Pruning, json.loads(file.metadata()["pruning"]))
        apply(reference, pruning)
        put_floats(reference, {name: file.get_tensor(name) for name in sorted(file.keys())})
