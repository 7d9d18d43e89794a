"""What goes, and that taking it out is the same as not hearing it."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from slm_export import tasks
from slm_export.errors import InputError, UsageError
from slm_export.outputs import Tokens, all_rows
from slm_export.pruning import stored
from slm_export.pruning.asked import Asked, kept_heads, kept_neurons, parse
from slm_export.pruning.healing import heal, trainable
from slm_export.pruning.importance import by_activation, by_weights, strongest
from slm_export.pruning.prune import find_prunable, prune
from slm_export.pruning.sparse import deflated, magnitude_masks, put_zeros
from slm_export.pruning.surgery import Units, cut_for_now, keep_units, skipped, without
from slm_export.pruning.units import find_units
from tests.tiny import untrained

TASK = tasks.get("text-classification")
SILENT = {"progress": lambda *_: None}


def texts(count, *, seed=0):
    rng = np.random.default_rng(seed)
    return [Tokens(input_ids=tuple(map(int, rng.integers(5, 25, rng.integers(3, 9))))) for _ in range(count)]


def answers(module, tokens):
    return all_rows(TASK.run(module, tokens))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ffn=0.2,heads=0.1,layers=2,weights=0.3", Asked(ffn=0.2, heads=0.1, layers=2, weights=0.3)),
        ("layers=1", Asked(layers=1)),
        ("ffn = .5, weights=.25", Asked(ffn=0.5, weights=0.25)),
    ],
)
def test_what_is_asked_is_read(text, found):
    assert parse(text, origin="flag") == found
    assert parse(str(found), origin="flag") == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fnn=0.2", "did you mean 'ffn'"),
        ("ffn=1", "ffn=1 is no share"),
        ("ffn=nan", "no share"),
        ("heads=-0.1", "no share"),
        ("layers=0", "no number of blocks"),
        ("layers=0.5", "no number of blocks"),
        ("ffn=0.1,ffn=0.2", "given twice"),
        ("ffn", "no share"),
        ("", "there is no ''"),
    ],
)
def test_what_cannot_be_read_is_told(text, said):
    with pytest.raises(UsageError) as caught:
        parse(text, origin="flag")
    assert said in str(caught.value)


def test_every_problem_is_told_at_once():
    with pytest.raises(UsageError) as caught:
        parse("ffn=2,head=0.1,layers=x", origin="flag")
    assert all(said in str(caught.value) for said in ("ffn=2", "'head'", "layers=x"))


@pytest.mark.parametrize(
    ("count", "share", "kept"),
    [(1536, 0.2, 1216), (512, 0.3, 352), (64, 0.5, 32), (64, 0.99, 32), (64, 0.1, 64), (24, 0.5, 24)],
)
def test_neurons_are_kept_in_multiples_of_32(count, share, kept):
    assert kept_neurons(count, share) == kept


@pytest.mark.parametrize(("count", "share", "kept"), [(12, 0.25, 9), (4, 0.1, 4), (2, 0.99, 1), (1, 0.5, 1)])
def test_one_head_stays(count, share, kept):
    assert kept_heads(count, share) == kept


@pytest.fixture(scope="module")
def models():
    made = {}

    def model(family):
        if family not in made:
            made[family] = untrained("text-classification", family, layers=3, seed=0)
        return copy.deepcopy(made[family])

    return model


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
def test_neurons_and_heads_of_every_block_are_found_by_watching(models, family):
    module = models(family)
    units = find_units(module, partial(answers, module, texts(1)))
    assert [(u.kind, u.width, u.count) for u in units] == 3 * [("heads", 16, 2), ("ffn", 1, 64)]
    assert all(len(u.producers) == (3 if u.kind == "heads" else 1) for u in units)


def test_looking_for_units_leaves_the_model_as_it_was(models):
    module = models("bert")
    before = {n: p.clone() for n, p in module.named_parameters()}
    find_units(module, partial(answers, module, texts(1)))
    assert all(torch.equal(p, before[n]) for n, p in module.named_parameters())


@pytest.mark.parametrize(
    ("family", "found"),
    [
        ("albert", [("heads", 2), ("ffn", 64)]),  # of shared layers they go once for all
        ("deberta-v2", 3 * [("ffn", 64)]),  # whose heads know their number
    ],
)
def test_of_other_families_what_can_go_alone_is_found(models, family, found):
    module = models(family)
    units = find_units(module, partial(answers, module, texts(1)))
    assert [(u.kind, u.count) for u in units] == found


class Gated(nn.Module):
    """A block with a gate, and one whose neurons a norm ties together."""

    def __init__(self, *, norm):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 8)
        self.norm = nn.LayerNorm(12) if norm else nn.Identity()

    def forward(self, x):
        return x + self.down(self.norm(torch.sigmoid(self.gate(x)) * self.up(x)))


@pytest.mark.parametrize("attentions_first", [True, False])
def test_gated_neurons_are_told_from_heads_that_have_keys_and_values_of_their_own(attentions_first):
    """Groups of gated neurons can go too: they are no heads, in whichever order the parts run."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
            self.gate, self.up, self.down = nn.Linear(32, 48), nn.Linear(32, 48), nn.Linear(48, 32)

        def attend(self, x):
            q, k, v = (p(x).unflatten(-1, (-1, 8)).transpose(1, 2) for p in (self.q, self.k, self.v))
            return x + self.o(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

        def feed(self, x):
            return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))

        def forward(self, x):
            x = nn.functional.layer_norm(x, (32,))
            return self.feed(self.attend(x)) if attentions_first else self.attend(self.feed(x))

    torch.manual_seed(0)
    module = nn.Module()
    module.blocks = nn.ModuleList(Block() for _ in range(2))
    text = torch.randn(1, 7, 32)

    def answer():
        with torch.inference_mode():
            return module.blocks[1](module.blocks[0](text)).numpy()[0]

    found = {u.consumer: (u.kind, u.width, u.count) for u in find_units(module, answer)}
    parts = {"o": ("heads", 8, 4), "down": ("ffn", 1, 48)}
    assert found == {f"blocks.{block}.{name}": parts[name] for block in (0, 1) for name in parts}


@pytest.mark.parametrize(("norm", "count"), [(False, 1), (True, 0)])
def test_gates_go_with_their_neurons_but_not_across_a_norm(norm, count):
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.ModuleList([Gated(norm=norm)])), torch.randn(2, 5, 8)
    with torch.no_grad():
        units = find_units(module, lambda: module[0][0](x).reshape(-1, 8).numpy())
    assert [u.producers for u in units] == count * [("0.0.gate", "0.0.up")]


@pytest.mark.parametrize("kind", ["ffn", "heads"])
def test_taking_units_out_answers_like_not_hearing_them(models, kind):
    module, tokens = models("bert"), texts(5)
    units = [u for u in find_units(module, partial(answers, module, texts(1))) if u.kind == kind]
    kept = {u.consumer: [n for n in range(u.count) if n % 2] for u in units}
    gone = {u.consumer: [n for n in range(u.count) if not n % 2] for u in units}
    whole, silenced = answers(module, tokens), copy.deepcopy(module)
    for u in units:
        with without(silenced, u, gone[u.consumer]):
            module.get_submodule(u.consumer).weight.data = silenced.get_submodule(u.consumer).weight.data
    expected = answers(module, tokens)
    for u in units:
        keep_units(module, u, kept[u.consumer])
    np.testing.assert_allclose(answers(module, tokens), expected, atol=1e-5)
    assert np.abs(expected - whole).max() > 0.1
    down = module.get_submodule(units[0].consumer)
    assert down.weight.shape[1] == down.in_features == units[0].count * units[0].width // 2


def test_a_cut_for_now_is_taken_back(models):
    module, tokens = models("bert"), texts(2)
    unit = find_units(module, partial(answers, module, texts(1)))[0]
    before = answers(module, tokens)
    with cut_for_now(module, unit, [0]):
        assert np.abs(answers(module, tokens) - before).max() > 1e-4
    np.testing.assert_array_equal(answers(module, tokens), before)


def test_importance_by_weights_counts_rows_and_columns():
    module = nn.ModuleDict({"up": nn.Linear(2, 3), "down": nn.Linear(3, 2)})
    module["up"].weight.data = torch.tensor([[1.0, 2.0], [0.0, 0.0], [-3.0, 0.0]])
    module["down"].weight.data = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 4.0]])
    units = Units(producers=("up",), consumer="down", width=1, count=3)
    assert by_weights(module, units, power=1).tolist() == [5, 1, 7]
    assert by_weights(module, units, power=2).tolist() == pytest.approx([3, 1, 5])


def test_importance_by_activation_is_what_a_unit_adds():
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), torch.randn(50, 4)
    units = Units(producers=("0",), consumer="1", width=2, count=3)
    (scores,) = by_activation(module, [units], lambda: module(x))
    values = module[0](x).detach()
    parts = [values[:, 2 * u : 2 * u + 2] @ module[1].weight.detach()[:, 2 * u : 2 * u + 2].T for u in range(3)]
    torch.testing.assert_close(scores, torch.stack([(p**2).sum(1).mean() for p in parts]))


def test_the_strongest_stay_in_order_and_the_first_of_equals():
    assert strongest(torch.tensor([1.0, 5.0, 1.0, 9.0]), 3) == (0, 1, 3)


def test_a_neuron_that_says_nothing_goes_first(models):
    module = models("bert")
    dead = [3, *range(20, 51)]
    module.bert.encoder.layer[1].output.dense.weight.data[:, dead] = 0
    made = prune(module, TASK, Asked(ffn=0.5, by="activation"), texts(20), SILENT["progress"])
    kept = {c.units.consumer: c.kept for c in made.pruning.cuts}
    assert kept["bert.encoder.layer.1.output.dense"] == tuple(n for n in range(64) if n not in dead)


def test_blocks_that_do_nothing_go_first_and_the_rest_answers_as_before(models):
    module, tokens = models("bert"), texts(12)
    idle = module.bert.encoder.layer[1]
    for layer in (idle.attention.output.dense, idle.output.dense):
        layer.weight.data.zero_()
    before = answers(module, tokens)
    made = prune(module, TASK, Asked(layers=1), tokens, SILENT["progress"])
    assert made.pruning.blocks == ("bert.encoder.layer.1",) and len(made.module.bert.encoder.layer) == 2
    assert len(module.bert.encoder.layer) == 3, "the reference stays whole"
    np.testing.assert_allclose(answers(made.module, tokens), before, atol=1e-4)
    assert made.hidden == {
        "bert.encoder.layer.0": "bert.encoder.layer.1",
        "bert.encoder.layer.1": "bert.encoder.layer.2",
    }


@pytest.mark.parametrize(
    "family", ["bert", "distilbert", "roberta", "electra", "modernbert", "deberta-v2", "mobilebert"]
)
def test_removing_blocks_is_skipping_them(models, family):
    module, tokens = models(family), texts(6)
    made = prune(module, TASK, Asked(layers=2), tokens, SILENT["progress"])
    with skipped(module, made.pruning.blocks):
        np.testing.assert_allclose(answers(made.module, tokens), answers(module, tokens), atol=1e-5)


@pytest.mark.parametrize(
    ("family", "asked", "error", "said"),
    [
        ("albert", Asked(layers=1), InputError, "no blocks to take out"),
        ("modernbert", Asked(ffn=0.5), InputError, "no feed-forward part whose neurons"),
        ("modernbert", Asked(heads=0.5), InputError, "no attention whose heads"),
        ("deberta-v2", Asked(heads=0.5), InputError, "no attention whose heads"),
        ("bert", Asked(layers=3), UsageError, "the model has 3 blocks"),
        ("bert", Asked(ffn=0.1), UsageError, "takes nothing away: the parts have 64 each"),
        ("bert", Asked(heads=0.1), UsageError, "takes nothing away: the parts have 2 each"),
    ],
)
def test_what_cannot_be_pruned_is_refused(models, family, asked, error, said):
    module = models(family)
    with pytest.raises(error) as caught:
        find_prunable(module, TASK, asked)
    assert said in str(caught.value) and "next:" in str(caught.value)


def test_a_pruned_model_is_made_again_from_the_reference_and_a_file(models, tmp_path):
    module, tokens = models("bert"), texts(20)
    asked = Asked(ffn=0.5, heads=0.5, layers=1, weights=0.3)
    made = prune(module, TASK, asked, tokens, SILENT["progress"])
    with torch.no_grad():
        made.module.classifier.bias += 1
    stored.save(made.module, module, made.pruning, tmp_path / "pruned.safetensors")
    again = models("bert")
    stored.restore(again, tmp_path / "pruned.safetensors")
    held, wanted = again.state_dict(), made.module.state_dict()
    assert held.keys() == wanted.keys() and all(torch.equal(held[name], wanted[name]) for name in wanted)
    # Where a file's weights begin in memory decides how some CPUs sum them, in the last bit: both begin anew.
    again, module = copy.deepcopy(again), copy.deepcopy(made.module)
    np.testing.assert_array_equal(answers(again, tokens), answers(module, tokens))


def test_the_smallest_weights_become_zero_and_lookups_stay_whole(models):
    module = models("bert")
    masks = magnitude_masks(module, 0.3)
    before = copy.deepcopy(module)
    put_zeros(module, masks)
    weight = module.bert.encoder.layer[0].output.dense.weight
    assert int((weight == 0).sum()) == round(0.3 * weight.numel())
    kept = before.bert.encoder.layer[0].output.dense.weight[weight != 0].abs()
    gone = before.bert.encoder.layer[0].output.dense.weight[weight == 0].abs()
    assert kept.min() >= gone.max()
    table = module.bert.embeddings.word_embeddings.weight
    assert torch.equal(table, before.bert.embeddings.word_embeddings.weight)
    sizes = deflated(before, module, masks)
    assert sizes.after < sizes.before <= 1.01 * sizes.plain == 1.01 * sum(m.numel() for m in masks.values())


def test_healing_brings_answers_back_and_keeps_zeros(models):
    module, tokens = models("bert"), texts(200)
    made = prune(module, TASK, Asked(ffn=0.5, heads=0.5, weights=0.3), tokens, SILENT["progress"])
    table = made.module.bert.embeddings.word_embeddings.weight.clone()
    unhealed = float(np.abs(answers(made.module, texts(50, seed=9)) - answers(module, texts(50, seed=9))).mean())
    went = heal(made.module, module, TASK, tokens, passes=30, masks=made.masks, hidden=made.hidden, **SILENT)
    healed = float(np.abs(answers(made.module, texts(50, seed=9)) - answers(module, texts(50, seed=9))).mean())
    assert went.after < went.before and healed < 0.8 * unhealed
    assert all(not made.module.get_submodule(n).weight[~mask].any() for n, mask in made.masks.items())
    assert torch.equal(made.module.bert.embeddings.word_embeddings.weight, table)
    assert not any(p.requires_grad for p in made.module.parameters())


@pytest.mark.parametrize(
    "task",
    [
        "text-classification/multi-label",
        "text-classification/regression",
        "token-classification",
        "question-answering",
        "fill-mask",
    ],
)
def test_every_head_is_healed_by_its_own_loss(task):
    module, tokens, kind = untrained(task, "bert", layers=2, seed=0), texts(64), tasks.get(task)
    made = prune(module, kind, Asked(heads=0.5), tokens, SILENT["progress"])
    went = heal(made.module, module, kind, tokens, passes=20, masks={}, hidden=made.hidden, **SILENT)
    assert 0 < went.after < went.before


def test_hidden_states_are_healed_by_their_distance():
    module, tokens = untrained("feature-extraction/hidden-states", "bert", layers=2, seed=0).base_model, texts(64)
    kind = tasks.get("feature-extraction/hidden-states")
    made = prune(module, kind, Asked(ffn=0.5), tokens, SILENT["progress"])
    went = heal(made.module, module, kind, tokens, passes=20, masks={}, hidden=made.hidden, **SILENT)
    assert 0 < went.after < went.before


def test_the_same_texts_heal_to_the_same_bits(models):
    states = []
    for _ in range(2):
        module, tokens = models("bert"), texts(40)
        made = prune(module, TASK, Asked(heads=0.5), tokens, SILENT["progress"])
        heal(made.module, module, TASK, tokens, passes=2, masks={}, hidden=made.hidden, **SILENT)
        states.append(made.module.state_dict())
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])


def test_tables_and_what_is_tied_to_them_are_not_trained():
    model = untrained("fill-mask", "bert", layers=1, seed=0)
    trained = {id(p) for p in trainable(model)}
    assert id(model.get_output_embeddings().weight) not in trained
    assert id(model.bert.encoder.layer[0].output.dense.weight) in trained


def test_an_asked_for_nothing_of_structure_says_so():
    assert not Asked(weights=0.3).structured and replace(Asked(weights=0.3), layers=1).structured
