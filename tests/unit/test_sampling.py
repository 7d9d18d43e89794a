from collections import Counter

import pytest

from slm_export.calibration import DataOptions, dataset, load
from slm_export.calibration.kinds import Sample
from slm_export.calibration.sampling import normalized, overlap, stratified
from slm_export.errors import InputError

LABELS = ("a", "b", "c")


def samples(counts):
    flat = [label for label, n in counts.items() for _ in range(n)]
    return [Sample(line=i, text=f"text {i}", label=label) for i, label in enumerate(flat, 2)]


def test_a_sample_keeps_each_labels_share():
    chosen = stratified(samples({"a": 600, "b": 300, "c": 100}), size=100, seed=0)
    assert Counter(s.label for s in chosen) == {"a": 60, "b": 30, "c": 10}


def test_rare_labels_give_at_least_one_while_the_size_allows():
    chosen = stratified(samples({"a": 998, "b": 1, "c": 1}), size=10, seed=0)
    assert Counter(s.label for s in chosen) == {"a": 8, "b": 1, "c": 1}
    assert len(stratified(samples({"a": 5, "b": 5, "c": 5}), size=2, seed=0)) == 2


@pytest.mark.parametrize("size", [1, 7, 50, 99, 100, 1000])
def test_a_sample_has_its_size_in_file_order_without_repeats(size):
    everything = samples({"a": 55, "b": 44, "c": 1})
    chosen = stratified(everything, size=size, seed=3)
    lines = [s.line for s in chosen]
    assert len(lines) == min(size, 100) and lines == sorted(set(lines))


def test_the_seed_decides_and_nothing_else():
    everything = samples({"a": 500, "b": 500})
    first = stratified(everything, size=50, seed=1)
    assert stratified(list(everything), size=50, seed=1) == first
    assert stratified(everything, size=50, seed=2) != first


def test_without_labels_lengths_are_the_strata():
    unlabelled = [Sample(line=i, text="x" * (1 + i % 4 * 50)) for i in range(400)]
    chosen = stratified(unlabelled, size=40, seed=0)
    assert Counter(len(s.text) for s in chosen) == {1: 10, 51: 10, 101: 10, 151: 10}


def test_overlap_ignores_case_and_white_space():
    assert normalized("  Hello\n World ") == "hello world"
    mine = [Sample(line=2, text="Hello  World"), Sample(line=3, text="other")]
    assert [s.line for s in overlap(mine, [Sample(line=9, text="hello world\n")])] == [2]


def write(path, rows):
    path.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows))
    return path


def options(tmp_path, calibration, evaluation=None, **more):
    files = {"calibration": write(tmp_path / "c.csv", calibration)}
    files["evaluation"] = write(tmp_path / "e.csv", evaluation) if evaluation else None
    return DataOptions(**files, **more)


def test_rows_of_the_evaluation_set_are_reported_and_not_used(tmp_path):
    chosen, judge = load(options(tmp_path, [("one", "a"), ("Two ", "b"), ("three", "c")], [("two", "b")]), LABELS)
    assert chosen.overlap_lines == (3,) and not chosen.overlap_used
    assert [s.text for s in chosen.samples] == ["one", "three"]
    assert judge.targets == ((1,),)


def test_overlap_is_used_when_forced(tmp_path):
    chosen, _ = load(options(tmp_path, [("one", "a"), ("two", "b")], [("two", "b")], allow_overlap=True), LABELS)
    assert chosen.overlap_lines == (3,) and chosen.overlap_used and len(chosen.samples) == 2


def test_a_calibration_file_that_is_the_evaluation_file_is_refused(tmp_path):
    rows = [("one", "a"), ("two", "b")]
    with pytest.raises(InputError, match=r"every row of c\.csv is also in the evaluation set"):
        load(options(tmp_path, rows, rows), LABELS)


def test_without_evaluation_file_rows_are_held_out_and_never_shared(tmp_path):
    rows = [(f"text {i}", LABELS[i % 3]) for i in range(100)] + [("text 1", "b"), ("TEXT 2", "c")]
    chosen, judge = load(options(tmp_path, rows, size=40), LABELS)
    assert judge.held_out and len(chosen.samples) == 40
    assert not overlap(chosen.samples, judge.samples)


@pytest.mark.parametrize("judged", [None, [(f"text {i}", "a") for i in range(10)]])
def test_healing_learns_from_no_row_that_judges(tmp_path, judged):
    rows = [(f"text {i}", LABELS[i % 3]) for i in range(700)] + [("TEXT 2", "c"), ("Text 50", "b")]
    chosen, judge = load(options(tmp_path, rows, judged, size=20, tried=40, taught=60), LABELS)
    assert len(chosen.taught) == 60 and len(chosen.tried) == 40 and len(judge.samples) == (10 if judged else 512)
    assert not overlap(chosen.taught, judge.samples) and not overlap(chosen.taught, chosen.tried)
    assert dataset.manifest(chosen, [3], max_length=8)["distillation_row_ids"] == [s.line for s in chosen.taught]


def test_no_file_at_all_is_refused():
    with pytest.raises(InputError, match="nothing to judge"):
        load(DataOptions(calibration=None, evaluation=None), LABELS)


def test_manifest_records_what_was_chosen(tmp_path):
    chosen, _ = load(options(tmp_path, [("one", "a"), ("two", "b"), ("three", "b")], [("four", "a")]), LABELS)
    facts = dataset.manifest(chosen, [3, 20, 200], max_length=128)
    assert facts["file"] == "c.csv" and facts["row_ids"] == [2, 3, 4] and len(str(facts["sha256"])) == 64
    assert facts["label_histogram"] == {"a": 1, "b": 2}
    assert facts["length_histogram"] == {"1-8": 1, "17-32": 1, "129-256": 1}
    assert facts["truncation_rate"] == pytest.approx(1 / 3)


def test_length_histogram_counts_every_length_once():
    lengths = [1, 8, 9, 16, 17, 512, 513, 9999]
    assert sum(dataset.length_histogram(lengths).values()) == len(lengths)
    assert dataset.length_histogram(lengths)[">512"] == 2
