"""Second moments of what Linears are given, summed over calibration samples: what their rounding is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slm_export.records import record


@record
class Moments:
    """X'X / n of the inputs X [n, inputs] of a Linear (its Hessian, but for a factor), float32 [inputs, inputs]; and
    (F - X)'X / n, F being what the float model gives it, where that was seen too."""

    hessian: Any
    shift: Any | None = None


class Sums:
    """Of some Linears of `module`, by name; inputs that several share, as a block's Q, K and V, are summed once."""

    def __init__(self, module: Any, names: Sequence[str]) -> None:
        self._module, self._names = module, names
        self._hessians: dict[str, Any] = {}
        self._shifts: dict[str, Any] = {}
        self._leaders: dict[str, str] = {}
        self._rows: dict[str, int] = {}

    def add(self, run: Callable[[], Any], wanted: Callable[[], Any] | None = None) -> tuple[Any, Any]:
        """Run the module, and before that as the float model would; gives what the two made."""
        aimed, first = inputs_of(self._module, self._names, wanted) if wanted else ({}, None)
        given, second = inputs_of(self._module, self._names, run)
        for name, parts in given.items():
            leader = next(n for n, other in given.items() if other[0] is parts[0])
            self._leaders[name] = leader
            if leader == name:
                self._sum(name, rows_of(parts), rows_of(aimed[name]) if name in aimed else None)
        return first, second

    def _sum(self, name: str, x: Any, aimed: Any | None) -> None:
        self._hessians[name] = x.T @ x + self._hessians.get(name, 0)
        self._rows[name] = len(x) + self._rows.get(name, 0)
        if aimed is not None:
            self._shifts[name] = (aimed - x).T @ x + self._shifts.get(name, 0)

    def moments(self) -> dict[str, Moments]:
        """Of every Linear that ran."""
        return {
            name: Moments(
                hessian=self._hessians[leader] / self._rows[leader],
                shift=self._shifts[leader] / self._rows[leader] if leader in self._shifts else None,
            )
            for name, leader in self._leaders.items()
        }


def inputs_of(module: Any, names: Sequence[str], run: Callable[[], Any]) -> tuple[dict[str, list[Any]], Any]:
    """What each of some layers of `module` is given in one run, each time it runs, and what the run made."""
    found: dict[str, list[Any]] = {}
    hooks = [
        module.get_submodule(n).register_forward_pre_hook(lambda _, args, n=n: found.setdefault(n, []).append(args[0]))
        for n in names
    ]
    try:
        return found, run()
    finally:
        for hook in hooks:
            hook.remove()


def rows_of(parts: Sequence[Any]) -> Any:
    """Inputs [..., features] as one float32 [n, features]."""
    import torch

    return torch.cat([p.reshape(-1, p.shape[-1]) for p in parts]).float()


def scaled(moments: Moments, scale: Any) -> Moments:
    """Of the inputs divided by `scale` [inputs]."""
    both = scale[:, None] * scale
    return Moments(hessian=moments.hessian / both, shift=None if moments.shift is None else moments.shift / both)
