"""Recurrent layers in padded batches: unrolled, they give what torch gives without padding."""

from itertools import product

import pytest
import torch

from slm_export import tasks
from slm_export.exporters.common import copy_structure
from slm_export.exporters.unrolled import unroll
from slm_export.sources.classifier import PlainClassifier, check
from tests import classifiers
from tests.classifiers import Classifier

LENGTHS = (9, 1, 4)  # of the rows of a batch padded to 9
VARIANTS = [
    (kind, bidirectional, packed, answer, layers)
    for kind, bidirectional, packed, answer, layers in product(
        ("lstm", "gru"), (False, True), (False, True), ("h_n", "last", "gathered"), (1, 2)
    )
]


def classifier(model, inputs=("input_ids", "lengths")):
    return PlainClassifier(model.eval().requires_grad_(False), inputs, 0)


def batch():
    mask = (torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]).long()
    ids = torch.randint(1, 40, mask.shape, generator=torch.Generator().manual_seed(1)) * mask
    return ids, mask


def unpadded(model, ids, mask):
    rows = [model(ids[r : r + 1, :n], mask[r : r + 1, :n])["logits"] for r, n in enumerate(LENGTHS)]
    return torch.cat(rows)


def unrolled_error(model):
    ids, mask = batch()
    written_out = copy_structure(model)
    assert unroll(written_out)
    got = tasks.get("text-classification").graph(written_out)(ids, mask)["logits"]
    return float((got - unpadded(model, ids, mask)).abs().max())


@pytest.mark.parametrize(("kind", "bidirectional", "packed", "answer", "layers"), VARIANTS)
def test_unrolled_layers_do_not_see_padding(kind, bidirectional, packed, answer, layers):
    torch.manual_seed(0)
    model = Classifier(kind, bidirectional=bidirectional, packed=packed, answer=answer, layers=layers)
    model = classifier(model)
    check(model, labels=4, name="x")
    assert not model.zeros and unrolled_error(model) < 1e-6


def test_what_pad_packed_sequence_fills_up_with_is_what_the_model_needs():
    model = classifier(Classifier("gru", bidirectional=True, packed=True, answer="summed"))
    check(model, labels=4, name="x")
    assert model.zeros and unrolled_error(model) < 1e-6


class WithStates(torch.nn.Module):
    """Starts from a state it has learnt, has no biases, and flattens parameters as some code does."""

    def __init__(self, kind):
        super().__init__()
        self.embedding = torch.nn.Embedding(40, 8)
        self.has_cell = kind == "LSTM"
        self.rnn = getattr(torch.nn, kind)(8, 8, bidirectional=True, batch_first=True, bias=False)
        self.state = torch.nn.Parameter(torch.randn(2, 1, 8))

    def forward(self, input_ids, attention_mask):
        self.rnn.flatten_parameters()
        h = self.state.expand(-1, input_ids.size(0), -1).contiguous()
        y, _ = self.rnn(self.embedding(input_ids), (h, h) if self.has_cell else h)
        return {"logits": (y * attention_mask[:, :, None]).sum(1) / attention_mask.sum(1, keepdim=True)}


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_first_states_and_masked_means_are_kept(kind):
    torch.manual_seed(0)
    model = classifier(WithStates(kind), ("input_ids", "attention_mask"))
    check(model, labels=16, name="x")
    assert unrolled_error(model) < 1e-6


def test_torchs_own_functions_are_back_after_a_run():
    before = torch.nn.utils.rnn.pack_padded_sequence
    model = classifier(Classifier("lstm", bidirectional=False, packed=True, answer="h_n"))
    unrolled_error(model)
    assert torch.nn.utils.rnn.pack_padded_sequence is before is classifiers.pack_padded_sequence
