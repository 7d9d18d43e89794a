"""Taking parts out of a model, by name: blocks of a list, units of the Linears around an activation or attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from slm_export.pruning.recount import recount
from slm_export.records import record


@record
class Units:
    """What can go from a block alone: `width` rows of each producer, with the columns of the consumer that see them.
    A neuron of a feed-forward part is one wide, a head of an attention as wide as its values."""

    producers: tuple[str, ...]
    consumer: str
    width: int
    count: int

    @property
    def kind(self) -> str:
        return "ffn" if self.width == 1 else "heads"


@record
class Cut:
    """Units of which only the numbers `kept` stay, in order."""

    units: Units
    kept: tuple[int, ...]


@record
class Pruning:
    """Blocks that go, and cuts in those that stay, by their names in the reference."""

    blocks: tuple[str, ...] = ()
    cuts: tuple[Cut, ...] = ()


def apply(module: Any, pruning: Pruning) -> None:
    """Prune a freshly loaded reference, in place."""
    for cut in pruning.cuts:
        keep_units(module, cut.units, cut.kept)
    remove_blocks(module, pruning.blocks)
    recount(module, pruning)


def remove_blocks(module: Any, names: Sequence[str]) -> None:
    """The blocks behind one that goes move up, and are named by their new place."""
    for name in sorted(names, key=lambda n: int(n.rpartition(".")[2]), reverse=True):
        holder, _, number = name.rpartition(".")
        del module.get_submodule(holder)[int(number)]


def keep_units(module: Any, units: Units, kept: Sequence[int]) -> None:
    """Leave out all other units. The consumer's bias stays."""
    index = columns(units, kept)
    for name in units.producers:
        layer = module.get_submodule(name)
        layer.weight.data = layer.weight.data[index].contiguous()
        if layer.bias is not None:
            layer.bias.data = layer.bias.data[index].contiguous()
        layer.out_features = len(index)
    consumer = module.get_submodule(units.consumer)
    consumer.weight.data = consumer.weight.data[:, index].contiguous()
    consumer.in_features = len(index)


def columns(units: Units, numbers: Sequence[int]) -> Any:
    """Of the consumer's weight, those of these units: int64 [len(numbers) * width]."""
    import torch

    return torch.tensor([number * units.width + i for number in numbers for i in range(units.width)])


@contextmanager
def without(module: Any, units: Units, gone: Sequence[int]) -> Iterator[None]:
    """Within the block, what these units say is not heard: their columns of the consumer are zero."""
    consumer = module.get_submodule(units.consumer)
    whole = consumer.weight.data
    consumer.weight.data = whole.clone()
    consumer.weight.data[:, columns(units, gone)] = 0
    try:
        yield
    finally:
        consumer.weight.data = whole


@contextmanager
def cut_for_now(module: Any, units: Units, kept: Sequence[int]) -> Iterator[None]:
    """Within the block, only these units are there."""
    layers = [module.get_submodule(name) for name in (*units.producers, units.consumer)]
    whole = [(m.weight.data, None if m.bias is None else m.bias.data, m.in_features, m.out_features) for m in layers]
    try:
        keep_units(module, units, kept)
        yield
    finally:
        for layer, (weight, bias, inputs, outputs) in zip(layers, whole, strict=True):
            layer.weight.data, layer.in_features, layer.out_features = weight, inputs, outputs
            if bias is not None:
                layer.bias.data = bias


@contextmanager
def skipped(module: Any, names: Sequence[str]) -> Iterator[None]:
    """Within the block, these blocks give back the hidden states that they are given."""

    def hand_on(_: Any, args: Any, kwargs: Any, out: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

    hooks = [module.get_submodule(n).register_forward_hook(hand_on, with_kwargs=True) for n in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
