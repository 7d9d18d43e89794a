"""LSTM and GRU layers as torch modules that torch.onnx writes as ONNX's own operators, one for each layer.

They only describe a graph: outside torch.onnx.export they compute nothing. `sequence_lens` tells the operator where the
padding is; it gives zeros there, and the last states behind the last token.
"""

from __future__ import annotations

from typing import Any

import torch

from slm_export.sources.padding import Recurrent

# The order of torch's gates in ONNX: i, f, g, o become i, o, f, g; r, z, n become z, r, n.
GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}


def recurrent_operator(layer: Any) -> torch.nn.Module | None:
    """The module that stands for an LSTM or GRU, or None for any other layer."""
    return RecurrentOperator(layer) if isinstance(layer, torch.nn.LSTM | torch.nn.GRU) else None


class RecurrentOperator(Recurrent):
    def __init__(self, layer: Any) -> None:
        super().__init__(layer)
        self.operator = "LSTM" if self.is_lstm else "GRU"
        for number in range(self.num_layers):
            for name, kinds in {
                "inputs": ("weight_ih",),
                "hidden": ("weight_hh",),
                "bias": ("bias_ih", "bias_hh"),
            }.items():
                if layer.bias or name != "bias":
                    self.register_buffer(f"{name}_{number}", self._weights(layer, kinds, number))

    def _weights(self, layer: Any, kinds: tuple[str, ...], number: int) -> Any:
        """[directions, ...], the gates in ONNX's order; of the biases the input's, then the state's."""
        return torch.stack([
            torch.cat([self._ordered(getattr(layer, f"{kind}_l{number}{end}")) for kind in kinds])
            for end in ("", "_reverse")[: self.directions]
        ])  # fmt: skip

    def _ordered(self, value: Any) -> Any:
        blocks = value.detach().split(self.hidden_size)
        return torch.cat([blocks[gate] for gate in GATES[self.operator]])

    def compute(self, x: Any, real: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        lengths = real.sum((1, 2)).to(torch.int32)
        x, ends = x.transpose(0, 1), []
        for number in range(self.num_layers):
            rows = slice(number * self.directions, (number + 1) * self.directions)
            y, *end = self._layer(number, x, lengths, [s[rows] for s in states])
            ends.append(end)
            x = y.permute(0, 2, 1, 3).flatten(2)  # [sequence, directions, batch, hidden] side by side
        return x.transpose(0, 1), tuple(torch.cat(parts) for parts in zip(*ends, strict=True))

    def _layer(self, number: int, x: Any, lengths: Any, states: list[Any]) -> Any:
        sequence, batch, _ = x.shape
        ended = (self.directions, batch, self.hidden_size)
        shapes = [(sequence, *ended), *[ended] * (2 if self.is_lstm else 1)]
        attributes = {"hidden_size": self.hidden_size, "direction": ("forward", "bidirectional")[self.directions - 1]}
        if not self.is_lstm:
            attributes["linear_before_reset"] = 1
        weights = [getattr(self, f"{name}_{number}", None) for name in ("inputs", "hidden", "bias")]
        return torch.onnx.ops.symbolic_multi_out(
            self.operator,
            (x, *weights, lengths, *states),
            attributes,
            dtypes=[torch.float32] * len(shapes),
            shapes=shapes,
        )
