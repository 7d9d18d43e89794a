"""`--scheme auto`: the order of candidates, the budget, and trials that are kept."""

import pytest
import torch
from torch import nn

from slm_export.errors import ExportError, UsageError
from slm_export.parity.budget import Loss, MaxDrop, allowed, loss, of_pruned, parse, tightened
from slm_export.quantization.search import Candidate, Trial, candidates, estimated_bytes, smallest_within
from slm_export.quantization.trials import TrialStore, key_of
from slm_export.quantplan import LayerPlan, QuantPlan
from slm_export.targets import Limits


def trial(scheme="w4", share=0.0, *, drop=0.0, within=True):
    return Trial(
        scheme=scheme, int8_share=share, int8_layers=(), megabytes=1.0, metric="accuracy_drop", drop=drop, within=within
    )


def test_candidates_have_int8_activations_where_the_format_does():
    found = candidates(["fp32", "fp16", "w8", "w8a8-dynamic", "w4", "w4a8-dynamic"])
    assert {c.scheme for c in found} == {"fp32", "fp16", "w8a8-dynamic", "w4a8-dynamic"}
    assert [c.int8_share for c in found if c.scheme == "w4a8-dynamic"][:3] == [0.0, 0.1, 0.2]
    assert candidates(["fp32", "w8"]) == [
        Candidate(scheme="fp32", int8_share=0.0),
        Candidate(scheme="w8", int8_share=0.0),
    ]


def test_the_search_stops_at_the_first_that_is_within_the_budget():
    asked = []

    def tried(candidate):
        asked.append(candidate.int8_share)
        return trial(share=candidate.int8_share, within=candidate.int8_share >= 0.2)

    trials = smallest_within(candidates(["w4"]), tried)
    assert asked == [0.0, 0.1, 0.2] and [t.within for t in trials] == [False, False, True]


def test_what_comes_closest_is_told_where_nothing_is_within():
    with pytest.raises(ExportError, match="no scheme of this format") as caught:
        smallest_within(candidates(["w4"]), lambda c: trial(drop=0.1 - c.int8_share / 10, within=False))
    assert "accuracy_drop 0.02" in str(caught.value)


def test_where_nothing_fits_the_smallest_is_told():
    with pytest.raises(ExportError, match="no scheme of this format") as caught:
        smallest_within(candidates(["w4", "fp32"]), lambda c: trial(drop=None, within=False))
    assert "the smallest takes about 1.00 MB" in str(caught.value)


def test_estimated_bytes_are_those_of_integers_scales_and_floats():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 10), nn.Linear(10, 3, bias=False))
    layers = {
        "0": LayerPlan(bits=4, group=32, activations="float"),
        "1": LayerPlan(bits=8, group=None, activations="float"),
    }
    plan = QuantPlan(scheme="w4", layers=layers)
    assert estimated_bytes(model, plan) == 320 + 40 + 40 + 30 + 12
    assert estimated_bytes(model, QuantPlan(scheme="fp32", layers={})) == 4 * (640 + 10 + 30)


@pytest.mark.parametrize(
    ("text", "amount", "relative"), [("0.5%", 0.005, False), ("0.005", 0.005, False), ("2 %rel", None, None),
    ("2%rel", 0.02, True), (".5%", 0.005, False), ("150%", None, None), ("half", None, None), ("1.5", None, None),
    ("-1%", None, None)]
)  # fmt: skip
def test_a_budget_is_read_or_refused(text, amount, relative):
    if amount is None:
        with pytest.raises(UsageError, match="is no amount"):
            parse(text, origin="flag")
    else:
        assert parse(text, origin="flag") == MaxDrop(amount=amount, relative=relative)


def test_a_relative_budget_is_a_share_of_the_references_value():
    answers = {"accuracy_reference": 0.8, "accuracy_drop": 0.003, "flip_rate": 0.01}
    points = MaxDrop(amount=0.005, relative=False)
    lost = loss("text-classification", answers, points)
    assert lost == Loss(metric="accuracy_drop", drop=0.003, reference=0.8)
    assert allowed(MaxDrop(amount=0.005, relative=True), lost) == pytest.approx(0.004)
    assert allowed(MaxDrop(amount=0.005, relative=False), lost) == 0.005
    in_points = Loss(metric="chrf_drop", drop=0.2, reference=80.0)
    assert allowed(MaxDrop(amount=0.005, relative=False), in_points) == 0.5, "chrF runs to 100"
    assert allowed(MaxDrop(amount=0.005, relative=True), in_points) == pytest.approx(0.4)
    assert loss("text-classification", {"flip_rate": 0.01}, points).metric == "flip_rate"
    assert loss("feature-extraction", {"neighbour_agreement": 0.9}, points).drop == pytest.approx(0.1)


def test_a_causal_model_may_lose_nats_or_a_share_of_its_perplexity():
    answers = {"kl_mean": 0.04, "perplexity_increase": 0.03, "perplexity": 20.6, "perplexity_reference": 20.0}
    nats, share = (MaxDrop(amount=0.05, relative=relative) for relative in (False, True))
    lost, grown = (loss("text-generation", answers, budget) for budget in (nats, share))
    assert (lost.metric, lost.drop, allowed(nats, lost)) == ("kl_mean", 0.04, 0.05)
    assert (grown.metric, grown.drop, allowed(share, grown)) == ("perplexity_increase", 0.03, 0.05)


def test_a_budget_joins_the_limits_and_never_loosens_one():
    limits = Limits(task="t", scheme="w4", format="onnx", bounds={"accuracy_drop": 0.01}, why="so")
    lost = Loss(metric="accuracy_drop", drop=0.0, reference=0.5)
    assert tightened(limits, MaxDrop(amount=0.002, relative=False), lost).bounds == {"accuracy_drop": 0.002}
    assert tightened(limits, MaxDrop(amount=0.002, relative=True), lost).bounds == {"accuracy_drop": 0.001}
    assert tightened(limits, MaxDrop(amount=0.5, relative=False), lost).bounds == {"accuracy_drop": 0.01}
    near = Loss(metric="neighbour_agreement", drop=0.0, reference=None)
    assert tightened(limits, MaxDrop(amount=0.02, relative=False), near).bounds["neighbour_agreement"] == 0.98


def test_the_budget_of_a_pruned_model_stands_in_for_the_limits_on_answers_and_says_so():
    bounds = {"cosine_mean": 0.99, "accuracy_drop": 0.005, "flip_rate": 0.01, "lowering_max_abs_error": 1e-4}
    limits = Limits(task="t", scheme="w4", format="onnx", bounds=bounds, why="so")
    lost = Loss(metric="accuracy_drop", drop=0.0, reference=0.5)
    made = of_pruned(limits, MaxDrop(amount=0.02, relative=False), lost)
    assert made.bounds == {"accuracy_drop": 0.02, "lowering_max_abs_error": 1e-4}
    assert all(said in made.why for said in ("--max-drop", "2%", "cosine_mean >= 0.99", "accuracy_drop <= 0.005"))


def test_a_pruned_float_artifact_is_still_bound_to_its_eager_model():
    limits = Limits(task="t", scheme="fp32", format="onnx", bounds={"max_abs_error": 1e-4, "flip_rate": 0}, why="so")
    near = Loss(metric="neighbour_agreement", drop=0.0, reference=None)
    made = of_pruned(limits, MaxDrop(amount=0.1, relative=False), near)
    assert made.bounds == {"neighbour_agreement": 0.9, "lowering_max_abs_error": 1e-4}


def test_trials_are_found_again_and_half_a_line_is_left_out(tmp_path):
    path, key = tmp_path / "trials.jsonl", key_of(Candidate(scheme="w4", int8_share=0.1), ["data"])
    assert TrialStore(path).get(key) is None
    TrialStore(path).put(key, trial(drop=0.25))
    with path.open("a") as file:
        file.write('{"key": "a", "tri')
    assert TrialStore(path).get(key) == trial(drop=0.25)
    TrialStore(path).put("other", trial(drop=0.5))
    assert [TrialStore(path).get(k).drop for k in (key, "other")] == [0.25, 0.5]
    assert key != key_of(Candidate(scheme="w4", int8_share=0.2), ["data"])
