"""Lowering for ExecuTorch is spared what is done in vain, and nothing else: the same bytes come out."""

import operator
import random
import subprocess
import sys

import torch
from torch.fx.passes.tools_common import legalize_graph

from slm_export.exporters.executorch_sparing import sort_in_place

LOWER_TWICE = """
import contextlib

import torch
from executorch.exir.backend.canonical_partitioners.group_partitioner import GroupBasedPartitioner
from slm_export.exporters import executorch_lowering, executorch_sparing
from torch.nn import functional as F


class Busy(torch.nn.Module):
    "What encoders, decoders and classifiers of our families are made of, a convolution, a length as a number."

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(50, 32)
        self.norm = torch.nn.LayerNorm(32)
        self.qkv = torch.nn.Linear(32, 96)
        self.up, self.down = torch.nn.Linear(32, 64), torch.nn.Linear(64, 32)
        self.near = torch.nn.Conv1d(32, 32, 3, padding=1)
        self.head = torch.nn.Linear(96, 5)

    def forward(self, ids, mask):
        x = self.norm(self.table((ids + ids.shape[1]) % 50))
        q, k, v = (p.unflatten(-1, (4, 8)).transpose(1, 2) for p in self.qkv(x).split(32, dim=-1))
        seen = torch.where(mask[:, None, None, :] > 0, 0.0, -1e4)
        scores = (q @ k.transpose(-1, -2) / 8**0.5 + seen).softmax(dim=-1)
        x = x + (scores @ v).transpose(1, 2).flatten(2)
        x = x + self.down(F.gelu(self.up(x), approximate="tanh"))
        x = x + self.near(x.transpose(1, 2)).relu().transpose(1, 2)
        maps = x.unflatten(-1, (4, 8)).permute(0, 3, 2, 1).to(memory_format=torch.channels_last)
        x = x + maps.sum(dim=1).mean(dim=-1).repeat(1, 8)[:, None]
        parts = [x[:, 0], x.mean(dim=1), *x[:, 1].split(8, dim=-1)]
        return self.head(torch.cat(parts, dim=-1)).log_softmax(dim=-1)


class Plain(torch.nn.Module):
    "What few passes have anything to do for: no number, no other type than float32, no order of dimensions."

    def __init__(self):
        super().__init__()
        self.up, self.down = torch.nn.Linear(12, 32), torch.nn.Linear(32, 12)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


def lowered(dynamic):
    torch.manual_seed(0)
    if dynamic is None:
        with torch.no_grad():
            program = torch.export.export(Plain().eval(), (torch.rand(2, 12),), strict=True)
        return executorch_lowering.lower({"forward": program}).buffer
    model = Busy().eval()
    inputs = torch.randint(0, 50, (1, 12)), torch.ones(1, 12, dtype=torch.int64)
    length = torch.export.Dim("sequence", min=2, max=24)
    shapes = ({1: length}, {1: length}) if dynamic else None
    with torch.no_grad():
        program = torch.export.export(model, inputs, dynamic_shapes=shapes, strict=True)
    return executorch_lowering.lower({"forward": program}).buffer


runs, decomposed, compiled, worked, merged = [], [], [], [], []
sparing, without, unless = (getattr(executorch_sparing, n) for n in ("sparing", "without_idle_passes", "unless_idle"))
can_be_one, can_merge = executorch_sparing.can_be_one, GroupBasedPartitioner._can_merge_partitions


def watched(owner, name, seen):
    whole = getattr(owner, name)

    def call(self, *args, **kwargs):
        seen.append(self)
        return whole(self, *args, **kwargs)
    setattr(owner, name, call)


def counted(manager):
    class Counted(without(manager)):
        def _once(self):
            runs.append(self.passes[0].__name__)
            return super()._once()
    return Counted


def told(call, works_on):
    spared = unless(call, works_on)

    def called(self, module):
        done = spared(self, module)
        worked.append((type(self).__name__, done.modified))
        return done
    return called


def compared(self, *given):
    answer = can_be_one(self, *given)
    merged.append(answer)
    assert answer == can_merge(self, *given)
    return answer


watched(torch.export.ExportedProgram, "run_decompositions", decomposed)
watched(torch.fx.GraphModule, "recompile", compiled)
executorch_sparing.without_idle_passes, executorch_sparing.unless_idle = counted, told
executorch_sparing.can_be_one = compared
executorch_lowering.sparing = contextlib.nullcontext
lowered(False)  # the first finds the graphs of attention and of upsampling, for all that follow
for dynamic in (None, False, True):
    made = []
    for context in (sparing, contextlib.nullcontext):
        executorch_lowering.sparing = context
        decomposed.clear()
        compiled.clear()
        made.append((bytes(lowered(dynamic)), len(decomposed), len(compiled)))
    (spared, few, less), (whole, many, more) = made
    assert spared == whole, f"other bytes, dynamic={dynamic}"
    assert (few, many) == ((0, 3) if dynamic is None else (2, 4)), "one of them for GELU's tanh form"
    assert less < more / 4, (less, more)
idle = set(executorch_sparing.ABOUT) - set(runs)
assert runs and idle
assert set(worked) == {
    ("ConstPropPass", False),
    ("MemoryFormatOpsPass", False),
    ("MemoryFormatOpsPass", True),
    ("NormalizeTransposePass", False),
    ("RemoveMixedTypeOperators", False),
    ("RemoveMixedTypeOperators", True),
    ("ReplaceBrokenOpsWithFunctionalOpsPass", False),
    ("LegalizePortableDimOrderPass", False),
    ("LegalizePortableDimOrderPass", True),
    ("SymToTensorPass", False),
    ("SymToTensorPass", True),
}
assert any(merged) and not all(merged)
"""


def test_what_is_left_out_changes_no_byte():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LOWER_TWICE], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-3000:]


def test_a_graph_is_sorted_as_torch_sorts_it():
    for seed in range(20):
        rng, graph = random.Random(seed), torch.fx.Graph()
        nodes = [graph.placeholder("x"), graph.placeholder("y")]
        for _ in range(60):
            target = rng.choice([operator.add, torch.add, operator.mul, torch.ops.aten.scalar_tensor.default])
            nodes.append(graph.call_function(target, (rng.choice(nodes), rng.choice(nodes))))
        graph.output(nodes[-1])
        for _ in range(40):
            rng.choice(nodes[2:]).prepend(rng.choice(nodes[2:]))
        expected = _shown(legalize_graph(torch.fx.GraphModule({}, graph)))  # a copy; the graph stays
        module = sort_in_place(torch.fx.GraphModule({}, graph))
        assert _shown(module) == expected
        module.graph.lint()


def _shown(module):
    return [(node.name, [user.name for user in node.users]) for node in module.graph.nodes]
