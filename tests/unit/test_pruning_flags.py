"""What the flags say about pruning: what is found for want of one, and what a model or its data does not allow."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from slm_export import pruning_flags, sources
from slm_export.calibration import CalibrationSet, Sample
from slm_export.config import Setting
from slm_export.errors import InputError, UsageError
from slm_export.parity.budget import MaxDrop
from slm_export.pruning.asked import Asked
from tests.conftest import EXAMPLE


def flags(**values):
    return {k.replace("_", "-"): Setting(value=v, origin="flag") for k, v in values.items()}


@pytest.fixture(scope="module")
def source():
    return sources.describe(sources.resolve(str(EXAMPLE), revision=None, weights=None))


def texts(count):
    samples = tuple(Sample(line=i, text=f"text {i}") for i in range(count))
    return CalibrationSet(
        file="c.csv", sha256="", rows=count, seed=0, overlap_lines=(), overlap_used=False, samples=samples,
        taught=samples,
    )  # fmt: skip


def test_without_prune_there_is_nothing_to_do(source):
    assert pruning_flags.asked({}, source) is None
    assert pruning_flags.resolve({}, None, texts(9)) == (None, {}) and pruning_flags.healed({}) == 0
    assert list(pruning_flags.notes(None, texts(9), None)) == []


def test_calibration_texts_decide_importance_and_healing():
    wanted, found = pruning_flags.resolve(flags(prune="ffn=0.2"), Asked(ffn=0.2), texts(9))
    assert wanted == Asked(ffn=0.2, by="activation", passes=4)
    assert {k: s.value for k, s in found.items()} == {"prune-by": "activation", "heal": 4}
    blind, found = pruning_flags.resolve(flags(prune="ffn=0.2"), Asked(ffn=0.2), None)
    assert blind == Asked(ffn=0.2, by="l2", passes=0) and found["heal"].origin == "no calibration set"


def test_flags_go_first():
    given = flags(prune="ffn=0.2", prune_by="l1", heal=0)
    wanted, _ = pruning_flags.resolve(given, Asked(ffn=0.2), texts(9))
    assert wanted == Asked(ffn=0.2, by="l1", passes=0)
    assert pruning_flags.healed(given) == 0 and pruning_flags.healed(flags(prune="ffn=0.2")) == pruning_flags.HEALED


@pytest.mark.parametrize(
    ("given", "wanted", "said"),
    [
        ({}, Asked(layers=1), "layers=1"),
        ({"heal": 2}, Asked(ffn=0.2), "with --heal"),
        ({"prune_by": "activation"}, Asked(ffn=0.2), "by activation"),
    ],
)
def test_what_needs_texts_is_refused_without(given, wanted, said):
    with pytest.raises(InputError, match=f"--prune {said} needs a calibration set"):
        pruning_flags.resolve(flags(**given), wanted, None)


@pytest.mark.parametrize(("given", "said"), [({"prune_by": "l3"}, "unknown importance"), ({"heal": -1}, "0 or more")])
def test_values_of_a_config_file_are_checked_as_well(given, said):
    with pytest.raises(UsageError, match=said):
        pruning_flags.resolve(flags(prune="ffn=0.2", **given), Asked(ffn=0.2), texts(9))


def test_encoder_decoders_are_not_pruned_yet(source):
    with pytest.raises(UsageError, match="does not know text2text-generation yet"):
        pruning_flags.asked(flags(prune="ffn=0.2"), replace(source, task="text2text-generation"))


def test_of_plain_pytorch_only_weights_go():
    plain = SimpleNamespace(task="text-classification", plain=object(), path="model")
    assert pruning_flags.asked(flags(prune="weights=0.3"), plain) == Asked(weights=0.3)
    with pytest.raises(UsageError, match="out of transformers only"):
        pruning_flags.asked(flags(prune="weights=0.3,ffn=0.2"), plain)


def test_notes_say_what_judges_a_pruned_model():
    healed = Asked(ffn=0.2, weights=0.1, passes=4)
    without, with_budget = (
        " ".join(pruning_flags.notes(healed, texts(9), drop)) for drop in (None, MaxDrop(amount=0.02, relative=False))
    )
    assert "learns from 9 of 9 rows of c.csv, 4 times over; more texts" in without and "as if it were whole" in without
    assert "what --max-drop says (2%), in place of the target's thresholds" in with_budget
    assert "no runtime here runs them faster" in without
