"""Second moments of what Linears are given, summed over calibration samples: what their rounding is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Sums:
    """Of some Linears of `module`, by name; inputs that several share, as a block's Q, K and V, are summed once."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        self._module, self._names = module, names
        self._hessians: dict[str, Any] = {}
        self._leaders: dict[str, str] = {}
        self._rows: dict[str, int] = {}

    def add(self, run: Callable[[], Any]) -> Any:
        """Run the module; gives what it made."""
        found: dict[str, list[Any]] = {}
        hooks = [
            self._module.get_submodule(n).register_forward_pre_hook(
                lambda _, args, n=n: found.setdefault(n, []).append(args[0])
            )
            for n in self._names
        ]
        try:
            made = run()
        finally:
            for hook in hooks:
                hook.remove()
        for name, parts in found.items():
            leader = next(n for n, other in found.items() if other[0] is parts[0])
            self._leaders[name] = leader
            if leader == name:
                x = _rows(parts)
                self._hessians[name] = x.T @ x + self._hessians.get(name, 0)
                self._rows[name] = len(x) + self._rows.get(name, 0)
        return made

    def hessians(self) -> dict[str, Any]:
        """X'X / n of the inputs X [n, inputs] of every Linear that ran (its Hessian, but for a factor), float32
        [inputs, inputs]."""
        return {name: self._hessians[leader] / self._rows[leader] for name, leader in self._leaders.items()}


def _rows(parts: Sequence[Any]) -> Any:
    import torch

    return torch.cat([p.reshape(-1, p.shape[-1]) for p in parts]).float()


def scaled(hessian: Any, scale: Any) -> Any:
    """Of the inputs divided by `scale` [inputs]."""
    return hessian / (scale[:, None] * scale)
