"""Recurrent layers in padded batches: what a graph of fixed or padded shapes must give where texts end.

The reference answers unpadded texts. Where a graph is given padding instead, a recurrent layer must not run through
it: its last state is the one behind the last real token, its reverse direction starts there, and what it gives for
padding is what it gave for that token, so that `y[:, -1]` is what it is without padding. `told` says where the padding
is while the user's own `forward` runs, and puts stand-ins into the place of torch's pack_padded_sequence and
pad_packed_sequence, which no exporter can trace.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.nn.utils import rnn

from slm_export.errors import InputError
from slm_export.records import record

ATTRIBUTES = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional", "training")


@record
class Padding:
    """`mask` is 1 for tokens, 0 for padding behind them, int64 [batch, sequence]. `zeros`: what pad_packed_sequence
    gives for padding is 0, as torch does, and not the last token's."""

    mask: Any
    zeros: bool


_PADDING: ContextVar[Padding] = ContextVar("_PADDING")


class Packed:
    """Stands for a PackedSequence: padded as it came, x [batch, sequence, width], and how long each row is."""

    def __init__(self, x: Any, lengths: Any) -> None:
        self.x, self.lengths = x, lengths


class Recurrent(torch.nn.Module):
    """Stands for an LSTM or GRU where `told` holds. Subclasses say how it is computed."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        for name in ATTRIBUTES:
            setattr(self, name, getattr(layer, name))
        self.directions = 2 if layer.bidirectional else 1
        self.is_lstm = isinstance(layer, torch.nn.LSTM)

    def flatten_parameters(self) -> None:
        """What torch's layers have; there is nothing to flatten."""

    def forward(self, given: Any, hx: Any = None) -> Any:
        x, real = (given.x, _real(given)) if isinstance(given, Packed) else (given, _real(None))
        states = () if hx is None else tuple(hx) if self.is_lstm else (hx,)
        y, ended = self.compute(x, real, states)
        y = hold(y, real)
        return Packed(y, given.lengths) if isinstance(given, Packed) else y, ended if self.is_lstm else ended[0]

    def compute(self, x: Any, real: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """What comes out for x [batch, sequence, width], anything for padding, and the last states (h, or h and c).

        `real` [batch, sequence, 1] is 1.0 for tokens and 0.0 for padding.
        """
        raise NotImplementedError


class Eager(Recurrent):
    """The layer itself, packed: what the others are lowerings of. Cannot be traced."""

    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.layer = layer

    def compute(self, x: Any, real: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        lengths = real.sum((1, 2)).to(torch.int64)
        hx = None if not states else states if self.is_lstm else states[0]
        packed = _PACK(x, lengths, batch_first=True, enforce_sorted=False)
        y, ended = self.layer(packed, hx)
        return _PAD(y, batch_first=True, total_length=x.shape[1])[0], ended if self.is_lstm else (ended,)


def last(y: Any, real: Any, *, dim: int) -> Any:
    """What `y` holds at the last real step along `dim`, which stays; 0 where no step is real."""
    steps = real.shape[dim]
    following = torch.cat([real.narrow(dim, 1, steps - 1), torch.zeros_like(real.narrow(dim, 0, 1))], dim)
    return (y * (real - following)).sum(dim, keepdim=True)


def hold(y: Any, real: Any) -> Any:
    """`y` [batch, sequence, width] with the last real step's row in the place of padding's."""
    return y * real + last(y, real, dim=1) * padding_of(real)


def padding_of(real: Any) -> Any:
    """1 - real, exactly. litert-torch 0.10.0 makes x - 1 of 1 - x where x is transposed; sums and products it leaves
    alone. Remove when a bidirectional layer in a batch of two passes without."""
    return real * -1.0 + 1.0


def _real(packed: Packed | None) -> Any:
    if packed is None:
        mask = _PADDING.get().mask
    else:
        mask = torch.arange(packed.x.shape[1], device=packed.x.device)[None] < packed.lengths[:, None]
    return mask[:, :, None].to(torch.float32)


def pack(input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True) -> Packed:
    """Stands for torch's pack_padded_sequence."""
    _require_batch_first(batch_first, "pack_padded_sequence")
    return Packed(input, torch.as_tensor(lengths))


def pad(
    sequence: Packed,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Any, Any]:
    """Stands for torch's pad_packed_sequence."""
    _require_batch_first(batch_first, "pad_packed_sequence")
    y = sequence.x * _real(sequence) if _PADDING.get().zeros else sequence.x
    return y, sequence.lengths


def _require_batch_first(batch_first: bool, function: str) -> None:
    if not batch_first:
        raise InputError(
            f"{function} is called without batch_first=True",
            why="slm-export follows the padding of [batch, sequence, width] tensors only",
            next_step="give batch_first=True to it and to the LSTM or GRU",
        )


_PACK, _PAD = rnn.pack_padded_sequence, rnn.pad_packed_sequence


@contextmanager
def told(mask: Any, module: Any, *, zeros: bool) -> Iterator[None]:
    """Within the block, recurrent layers and the packing functions in `module`'s code know that `mask` is there."""
    token = _PADDING.set(Padding(mask=mask, zeros=zeros))
    bound = [(names, name, f, new) for names in _namespaces(module) for name, f, new in _packing(names)]
    for names, name, _, new in bound:
        names[name] = new
    try:
        yield
    finally:
        for names, name, original, _ in bound:
            names[name] = original
        _PADDING.reset(token)


def _namespaces(module: Any) -> list[dict[str, Any]]:
    """Where the user's code may look the packing functions up: `from ... import` binds them in its own module."""
    names = {type(m).__module__ for m in module.modules()}
    users = [n for n in sorted(names) if n.partition(".")[0] not in ("torch", "slm_export") and n in sys.modules]
    return [vars(rnn), *(vars(sys.modules[n]) for n in users)]


def _packing(names: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    pairs = ((_PACK, pack), (_PAD, pad))
    return [(name, old, new) for name, value in names.items() for old, new in pairs if value is old]


def require_followed(module: Any) -> None:
    """Raises InputError if the module has a recurrent layer for which no stand-in would be right."""
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.RNNBase):
            problem = _problem(layer)
            if problem:
                raise InputError(f"layer {name} cannot be exported: {problem}", where=f"{name}: {layer}")


def _problem(layer: Any) -> str:
    if type(layer) not in (torch.nn.LSTM, torch.nn.GRU):
        return f"{type(layer).__name__} is neither torch.nn.LSTM nor torch.nn.GRU"
    if not layer.batch_first:
        return "it lacks batch_first=True, and only [batch, sequence, width] is followed"
    return "it has a proj_size" if layer.proj_size else ""
