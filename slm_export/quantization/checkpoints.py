"""Rounded weights on disk: between stages, and block by block while they are made."""

from __future__ import annotations

import json
import re
from pathlib import Path

from slm_export.quantization.rounding import Rounded
from slm_export.quantization.weights import QuantizedTensor


def save(rounded: Rounded, path: Path) -> None:
    """Whole or not at all."""
    from safetensors.torch import save_file

    flat = {f"{n}.float": t.contiguous() for n, t in rounded.floats.items()}
    for kind, tensors in (("", rounded.tensors), (".wider", rounded.wider)):
        flat |= {f"{n}{kind}.ints": t.ints for n, t in tensors.items()}
        flat |= {f"{n}{kind}.scales": t.scales for n, t in tensors.items()}
    said = {
        "shapes": {n: [t.bits, t.group] for n, t in rounded.tensors.items()},
        "wider": {n: [t.bits, t.group] for n, t in rounded.wider.items()},
        "errors": rounded.errors,
    }
    aside = path.with_suffix(".aside")
    save_file(flat, aside, metadata={"rounded": json.dumps(said)})
    aside.replace(path)


def load(path: Path) -> Rounded:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["rounded"])

        def tensor(name: str, bits: int, group: int | None) -> QuantizedTensor:
            ints, scales = file.get_tensor(f"{name}.ints"), file.get_tensor(f"{name}.scales")
            return QuantizedTensor(ints=ints, scales=scales, bits=bits, group=group)

        floats = [name for name in set(file.keys()) if name.endswith(".float")]
        return Rounded(
            tensors={n: tensor(n, *shape) for n, shape in said["shapes"].items()},
            floats={n.removesuffix(".float"): file.get_tensor(n) for n in sorted(floats)},
            wider={n: tensor(f"{n}.wider", *shape) for n, shape in said["wider"].items()},
            errors=said["errors"],
        )


class Checkpoints:
    """Blocks that a rounding has finished, in a folder that is named by everything they depend on (`key`)."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key[:16]

    def get(self, name: str) -> Rounded | None:
        path = self._path(name)
        return load(path) if path.is_file() else None

    def put(self, name: str, rounded: Rounded) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        save(rounded, self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}safetensors"
