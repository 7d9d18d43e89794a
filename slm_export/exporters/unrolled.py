"""LSTM and GRU layers written out step by step, for formats whose lengths are fixed.

Padding costs a step nothing: before the steps, gates of padded tokens are pushed to where the state stays as it is, the
forget gate (a GRU's update gate) to 1 and the input gate to 0, exactly. Only an LSTM's h moves there, because its
output gate does; the h behind the last token is picked from all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

from slm_export.exporters.common import replace_layers
from slm_export.sources.padding import Recurrent, last, padding_of

SHUT = 1e4  # a sigmoid beyond it is exactly 1, and below its negative exactly 0


def unroll(module: Any) -> bool:
    """Swap, in place, every LSTM and GRU for its steps. Gives whether there was one."""
    kinds = (torch.nn.LSTM, torch.nn.GRU)
    found = any(isinstance(layer, kinds) for layer in module.modules())
    replace_layers(module, lambda _, layer: Unrolled(layer) if isinstance(layer, kinds) else None)
    return found


class Unrolled(Recurrent):
    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        kind = LstmDirection if self.is_lstm else GruDirection
        self.cells = torch.nn.ModuleList(
            kind(layer, f"l{n}{end}", backwards=bool(end))
            for n in range(self.num_layers)
            for end in ("", "_reverse")[: self.directions]
        )

    def compute(self, x: Any, real: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        x, real = x.transpose(0, 1), real.transpose(0, 1)  # [sequence, batch, width]: a step is a slice of rows
        ends = []
        for start in range(0, len(self.cells), self.directions):
            outputs = []
            for index in range(start, start + self.directions):
                y, end = self.cells[index](x, real, tuple(s[index : index + 1] for s in states))
                outputs.append(y)
                ends.append(end)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return x.transpose(0, 1), tuple(torch.cat(parts) for parts in zip(*ends, strict=True))


class _Direction(torch.nn.Module):
    """One layer in one direction; `gates` is the order of torch's gates in which they are computed."""

    gates: tuple[int, ...]
    shut: tuple[float, ...]  # what padding adds to each, in that order

    def __init__(self, layer: Any, suffix: str, *, backwards: bool) -> None:
        super().__init__()
        self.size, self.backwards = layer.hidden_size, backwards
        kinds = {"inputs": "weight_ih", "hidden": "weight_hh", "bias": "bias_ih", "hidden_bias": "bias_hh"}
        for name, kind in kinds.items():
            self.register_parameter(name, self._ordered(getattr(layer, f"{kind}_{suffix}", None)))
        shut = [value for value in self.shut for _ in range(self.size)]
        self.register_buffer("shutting", torch.tensor(shut, dtype=torch.float32))

    def _ordered(self, value: Any) -> Any:
        if value is None:  # of a layer without biases
            return None
        blocks = value.detach().split(self.size)
        return torch.nn.Parameter(torch.cat([blocks[gate] for gate in self.gates]), requires_grad=False)

    def steps(self, length: int) -> range:
        return range(length - 1, -1, -1) if self.backwards else range(length)


class LstmDirection(_Direction):
    gates, shut = (0, 1, 3, 2), (-SHUT, SHUT, 0.0, 0.0)  # torch's i, f, g, o as i, f, o, g: sigmoids together

    def __init__(self, layer: Any, suffix: str, *, backwards: bool) -> None:
        super().__init__(layer, suffix, backwards=backwards)
        # A sum made in the graph would not be a weight to XNNPACK, which then leaves the product out.
        self.register_buffer("both_biases", self.bias + self.hidden_bias if layer.bias else None)

    def forward(self, x: Any, real: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        given = linear(x, self.inputs, self.both_biases) + padding_of(real) * self.shutting
        h, c = states or (None, None)
        outputs = [x] * len(x)
        for t in self.steps(len(x)):
            gates = given[t : t + 1] if h is None else given[t : t + 1] + linear(h, self.hidden)
            i, f, o = _parts(torch.sigmoid(gates[..., : 3 * self.size]), 3)
            new = i * torch.tanh(gates[..., 3 * self.size :])
            c = new if c is None else f * c + new
            moved = o * torch.tanh(c)
            # Backwards padding comes first, and without a first state h stays 0 in it.
            h = moved if not states else moved * real[t : t + 1] + h * padding_of(real[t : t + 1])
            outputs[t] = h
        y = torch.cat(outputs)
        return y, (h if self.backwards or states else last(y, real, dim=0), c)


class GruDirection(_Direction):
    gates, shut = (0, 1, 2), (0.0, SHUT, 0.0)  # r, z, n

    def forward(self, x: Any, real: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        given = linear(x, self.inputs, self.bias) + padding_of(real) * self.shutting
        h = states[0] if states else torch.zeros_like(given[:1, :, : self.size])
        outputs = [x] * len(x)
        for t in self.steps(len(x)):
            step, state = given[t : t + 1], linear(h, self.hidden, self.hidden_bias)
            r, z = _parts(torch.sigmoid(step[..., : 2 * self.size] + state[..., : 2 * self.size]), 2)
            n = torch.tanh(step[..., 2 * self.size :] + r * state[..., 2 * self.size :])
            h = (1.0 - z) * n + z * h
            outputs[t] = h
        return torch.cat(outputs), (h,)


def _parts(gates: Any, count: int) -> list[Any]:
    """Slices, which XNNPACK takes over; a split it does not."""
    size = gates.shape[-1] // count
    return [gates[..., n * size : (n + 1) * size] for n in range(count)]
