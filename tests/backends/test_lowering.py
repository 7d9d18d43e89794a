"""Lowering for ExecuTorch leaves out passes and decompositions: those with nothing to do, and no other."""

import subprocess
import sys

LOWER_TWICE = """
import contextlib

import torch
from slm_export.exporters import executorch_lowering
from torch.nn import functional as F


class Busy(torch.nn.Module):
    "What encoders, decoders and classifiers of our families are made of, a convolution and a padded concatenation."

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 32)
        self.norm = torch.nn.LayerNorm(32)
        self.qkv = torch.nn.Linear(32, 96)
        self.up, self.down = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)
        self.near = torch.nn.Conv1d(32, 32, 3, padding=1)
        self.head = torch.nn.Linear(96, 5)

    def forward(self, ids, mask):
        x = self.norm(self.table(ids))
        q, k, v = (p.unflatten(-1, (4, 8)).transpose(1, 2) for p in self.qkv(x).split(32, dim=-1))
        seen = torch.where(mask[:, None, None, :] > 0, 0.0, -1e4)
        scores = (q @ k.transpose(-1, -2) / 8**0.5 + seen).softmax(dim=-1)
        x = x + (scores @ v).transpose(1, 2).flatten(2)
        x = x + self.down(F.gelu(self.up(x), approximate="tanh"))
        x = x + self.near(x.transpose(1, 2)).relu().transpose(1, 2)
        parts = [x[:, 0], x.mean(dim=1), *x[:, 1].split(8, dim=-1)]
        return self.head(torch.cat(parts, dim=-1)).log_softmax(dim=-1)


def lowered(dynamic):
    torch.manual_seed(0)
    model = Busy().eval()
    inputs = torch.randint(0, 50, (1, 12)), torch.ones(1, 12, dtype=torch.int64)
    length = torch.export.Dim("sequence", min=2, max=24)
    shapes = ({1: length}, {1: length}) if dynamic else None
    with torch.no_grad():
        program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=True)
    return executorch_lowering.lower({"forward": program}).buffer


runs, decomposed = [], []
sparing, needed = executorch_lowering._sparing, executorch_lowering._decomposing_if_needed
whole = torch.export.ExportedProgram.run_decompositions


def watched(program, *args, **kwargs):
    decomposed.append(program)
    return whole(program, *args, **kwargs)


def counted(manager):
    class Counted(sparing(manager)):
        def _once(self):
            runs.append(self.passes[0].__name__)
            return super()._once()
    return Counted


torch.export.ExportedProgram.run_decompositions = watched
lowered(False)  # the first finds attention's graphs, for all that follow
for dynamic in (False, True):
    executorch_lowering._sparing, executorch_lowering._decomposing_if_needed = counted, needed
    decomposed.clear()
    some = lowered(dynamic)
    few = len(decomposed)
    decomposed.clear()
    executorch_lowering._sparing = lambda manager: manager
    executorch_lowering._decomposing_if_needed = contextlib.nullcontext
    assert bytes(some) == bytes(lowered(dynamic)), f"other bytes, dynamic={dynamic}"
    assert (few, len(decomposed)) == (2, 4), "one of them for GELU's tanh form"
idle = set(executorch_lowering.ABOUT) - set(runs)
print(len(some), len(runs), sorted(idle))
assert runs and idle
"""


def test_what_is_left_out_changes_no_byte():
    done = subprocess.run([sys.executable, "-c", LOWER_TWICE], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]
