"""How much each unit matters: by the size of its weights, or by what it adds to the block on the calibration set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slm_export.pruning.surgery import Units, columns


def by_weights(module: Any, units: Units, *, power: int) -> Any:
    """The L1 (power 1) or L2 (power 2) norm of all weights that go with a unit, float32 [count]: its rows of the
    producers and its columns of the consumer. Li et al., "Pruning Filters for Efficient ConvNets", 2017."""
    import torch

    rows = [module.get_submodule(name).weight.detach() for name in units.producers]
    rows.append(module.get_submodule(units.consumer).weight.detach().T)
    sizes = [(w.abs() ** power).sum(1).reshape(units.count, units.width).sum(1) for w in rows]
    return torch.stack(sizes).sum(0) ** (1 / power)


def by_activation(module: Any, units: Sequence[Units], run: Callable[[], Any]) -> list[Any]:
    """For each of `units`, the energy of what a unit adds to the consumer's output, float32 [count]: tr(W M W') with W
    the unit's columns and M the second moment of its values over all tokens of `run()`."""
    import torch

    sums: dict[str, Any] = {}
    tokens: dict[str, int] = {}

    def add(u: Units, value: Any) -> None:
        x = value.detach().reshape(-1, u.count, u.width)
        sums[u.consumer] = sums.get(u.consumer, 0) + torch.einsum("tui,tuj->uij", x, x)
        tokens[u.consumer] = tokens.get(u.consumer, 0) + len(x)

    hooks = [
        module.get_submodule(u.consumer).register_forward_pre_hook(lambda _, args, u=u: add(u, args[0])) for u in units
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return [_energy(module, u, sums[u.consumer] / tokens[u.consumer]) for u in units]


def _energy(module: Any, units: Units, moment: Any) -> Any:
    import torch

    weight = module.get_submodule(units.consumer).weight.detach()
    parts = weight[:, columns(units, range(units.count))].reshape(-1, units.count, units.width)
    return torch.einsum("oui,uij,ouj->u", parts, moment, parts)


def strongest(scores: Any, count: int) -> tuple[int, ...]:
    """The numbers of the `count` largest scores, in order; of equal ones the first."""
    order = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    return tuple(sorted(order[:count]))
