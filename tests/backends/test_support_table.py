"""Every family with every task, in every format and scheme: the cells of docs/support.md. Hours on two cores; each test
stands alone, so that some can be picked with -k: "electra and pairs", "w4a8-dynamic and onnx".
"""

import pytest

from slm_export import exporters
from slm_export.names import SCHEMES
from slm_export.quantization.schemes import SCHEMES as SCHEMES_OF
from slm_export.records import read_json
from tests import support
from tests.conftest import Cli
from tests.tiny import FAMILIES, HEADS, make_tiny_embedder, make_tiny_model, make_tiny_recurrent, write_rows
from tests.tiny_seq2seq import FAMILIES as GENERATING
from tests.tiny_seq2seq import make_tiny_seq2seq, write_pairs

pytestmark = pytest.mark.heavy
PLAIN = ("lstm", "gru")
NOT_STATIC = (*PLAIN, "mobilebert")  # static ranges are refused before any lowering
CELLS = [
    *((family, head) for family in FAMILIES for head in (*HEADS, "feature-extraction")),
    *((family, "text-classification") for family in PLAIN),
    *((family, "text2text-generation") for family in GENERATING),
]
FORMATS = {"onnx": ("onnx",), "mobile": ("executorch", "tflite")}
REFUSED = {  # (family, head, format, scheme): why, as the run says
    ("mobilebert", head, "tflite", scheme): "are not in the converted model as they were"
    for head in (*HEADS, "feature-extraction")
    for scheme in ("w8", "w8a8-dynamic", "w4a8-dynamic")
} | {  # one row of 120 has another neighbour too many
    ("albert", head, "onnx", "w8a8-dynamic"): "does not answer like the reference"
    for head in ("feature-extraction", "feature-extraction/hidden-states")
}


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """(folder, arguments that name the model) by family and head, each trained once."""
    made = {}

    def make(family, head):
        if (family, head) not in made:
            folder = tmp_path_factory.mktemp("source")
            made[family, head] = folder, _make(folder, family, head)
        return made[family, head]

    return make


def _make(folder, family, head):
    task = "text-classification" if head == "feature-extraction" else head
    if family in GENERATING:
        make_tiny_seq2seq(folder / "model", family=family, seed=0)
        write_pairs(folder / "calibration.csv", seed=10, rows=60)
        write_pairs(folder / "eval.csv", seed=11, rows=80)
        return ["model", "--calibration", "calibration.csv", "--eval", "eval.csv"]
    write_rows(folder / "calibration.jsonl", task, seed=10, rows=60)
    write_rows(folder / "eval.jsonl", task, seed=11, rows=120)
    data = ["--calibration", "calibration.jsonl", "--eval", "eval.jsonl"]
    if family in PLAIN:
        shape = {"bidirectional": True, "packed": True, "answer": "h_n", "rows": 9000, "width": 32}
        make_tiny_recurrent(folder, seed=0, kind=family, **shape)
        return ["classifiers:make", "--weights", "model", *data]
    if head == "feature-extraction":
        steps = ["Pooling", "Normalize"]
        make_tiny_embedder(folder / "model", pooling="mean", steps=steps, seed=0, family=family)
    else:
        make_tiny_model(folder / "model", family=family, task=head, seed=0)
    return ["model", *data]


@pytest.mark.parametrize("formats", FORMATS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("family", "head"), CELLS)
def test_a_cell_of_the_support_table(family, head, scheme, formats, source, tmp_path):
    named = [f for f in FORMATS[formats] if exporters.get(f).supports(head, scheme) is None]
    if not named or (family in NOT_STATIC and SCHEMES_OF[scheme].static_bits):
        pytest.skip("no format has it")
    folder, model = source(family, head)
    flags = ["--name", "made", "--target", "linux-x86_64", "--max-length", 24, "--scheme", scheme, "-o", tmp_path]
    done = Cli(folder)(*model, *flags, *(part for f in named for part in ("--format", f)))
    run = tmp_path / "made-linux-x86_64.run.json"
    assert run.is_file(), done.stderr
    support.note(run, family=f"{family} (plain PyTorch)" if family in PLAIN else family, task=head)
    wrong = []
    for made in read_json(run)["formats"]:
        said = (made["error"] or {}).get("what", "")
        expected = REFUSED.get((family, head, made["format"], scheme), "")
        if bool(said) != bool(expected) or expected not in said:
            wrong.append(f"{made['format']}: {said or 'passed'} {done.stderr}")
    assert not wrong, "\n".join(wrong)
