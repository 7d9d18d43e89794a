"""Encoder-decoders: T5, BART and Marian answer token by token like transformers, in every format."""

import json
import shutil

import numpy as np
import onnx
import pytest

from slm_export import runtimes
from slm_export.artifact import Artifact
from slm_export.generation import follow, generate
from slm_export.outputs import Tokens
from slm_export.records import from_json, read_json
from slm_export.tasks import text2text_generation as task
from tests import support
from tests.conftest import Cli
from tests.tiny_seq2seq import EOS, FAMILIES, make_tiny_seq2seq, make_tokenizer, pairs, write_pairs

FORMATS = ("executorch", "tflite", "onnx")
ALWAYS = {"t5": FORMATS, "bart": ("onnx",), "marian": ("onnx",)}  # in every format they run with -m heavy
CASES = [*ALWAYS.items(), *(pytest.param(f, FORMATS, marks=pytest.mark.heavy) for f in FAMILIES if f != "t5")]
LONGEST = 24
TABLE_BYTES = 9000 * 32 * 4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """{family: folder of a trained model with data files}, each made once."""
    made = {}

    def make(family):
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            make_tiny_seq2seq(folder / "model", family=family, seed=0)
            write_pairs(folder / "calibration.csv", seed=10, rows=60)
            write_pairs(folder / "eval.csv", seed=11, rows=80)
            made[family] = folder
        return made[family]

    return make


@pytest.fixture(scope="module")
def bundles(models):
    """{(family, scheme, formats): bundle}, each made once."""
    made = {}

    def make(family, scheme, formats=None):
        key = family, scheme, formats or ALWAYS[family]
        if key not in made:
            folder, out = models(family), "-".join(["dist", scheme, *key[2]])
            data = ["--calibration", "calibration.csv", "--eval", "eval.csv", "--max-length", LONGEST]
            named = [part for f in key[2] for part in ("--format", f)]
            Cli(folder).ok("model", "--target", "linux-x86_64", *data, "--scheme", scheme, *named, "-o", out)
            made[key] = folder / out / "model-linux-x86_64"
            support.note(folder / out / "model-linux-x86_64.run.json", family=family, task="text2text-generation")
        return made[key]

    return make


def artifact(bundle, format):
    found = next(a for a in read_json(bundle / "manifest.json")["artifacts"] if a["format"] == format)
    return from_json(Artifact, found)


def open_decoder(bundle, format):
    found = artifact(bundle, format)
    return runtimes.get(format).open(bundle / found.path, found), found


def texts():
    """Token ids of 60 numbers, of one token, and of as many as there is room for."""
    tokenizer = make_tokenizer()
    made = [tokenizer(text)["input_ids"] for text, _ in pairs(seed=12, rows=60)]
    return [*made, [EOS], [*([5, 9, 4, 12] * LONGEST)[: LONGEST - 1], EOS]]


def reference(folder):
    from transformers import AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM.from_pretrained(folder / "model", attn_implementation="eager").eval()


@pytest.mark.parametrize(("family", "formats"), CASES)
def test_greedy_answers_are_transformers_own_to_the_last_token(models, bundles, family, formats):
    import torch

    bundle = bundles(family, "fp32", formats)
    model, decoders = reference(models(family)), {f: open_decoder(bundle, f) for f in formats}
    ended = 0
    for ids in texts():
        x = torch.tensor([ids])
        with torch.inference_mode():
            made = model.generate(
                input_ids=x, attention_mask=torch.ones_like(x), do_sample=False, num_beams=1,
                max_new_tokens=decoders["onnx"][1].generation.max_new_tokens, max_length=None,
            )  # fmt: skip
            expected = tuple(made[0, 1:].tolist())
            logits = model(input_ids=x, decoder_input_ids=made[:, :-1]).logits[0].numpy()
        ended += expected[-1] == EOS
        for decoder, found in decoders.values():
            assert generate(decoder, decoder.encode(ids), found.generation) == expected
            rows, _ = follow(decoder, ids, found.generation, expected)
            assert np.abs(np.stack(rows) - logits).max() <= 1e-4
    assert ended >= 60, "the model has learned to end"


def test_what_is_taught_comes_with_the_matrices_that_running_it_gives(models):
    model = reference(models("t5"))
    asked = [Tokens(input_ids=tuple(ids)) for ids in texts()[:8]]
    taught, matrices = task.teach(model, asked, task.rules(model, max_length=LONGEST), lambda _: None)
    for matrix, expected in zip(matrices, task.run(model, taught), strict=True):
        np.testing.assert_array_equal(matrix, expected)


@pytest.mark.parametrize(("family", "formats"), CASES)
def test_a_bundle_says_how_good_answers_are_and_verifies_without_torch_models(bundles, family, formats):
    bundle = bundles(family, "fp32", formats)
    reports = read_json(bundle / "parity.json")["reports"]
    assert [r["format"] for r in reports] == list(formats)
    for report in reports:
        answers = report["answers"]
        assert report["verdict"] == "pass" and answers["sequence_match"] == 1 and answers["flip_rate"] == 0
        assert answers["exact_match_reference"] >= 0.9 and answers["chrf_reference"] >= 95 and answers["chrf_drop"] == 0
        assert report["intervals"]["sequence_match"][0] > 0.9
    assert (bundle / "golden.json").stat().st_size < 150_000
    Cli(bundle).ok("verify", bundle)


@pytest.mark.parametrize(("family", "formats"), CASES)
def test_the_tied_table_is_stored_once_in_a_file(bundles, family, formats):
    for format in formats:
        found = artifact(bundles(family, "fp32", formats), format)
        assert len(found.files) == {"onnx": 2}.get(format, 1)
        for file in found.files:
            assert TABLE_BYTES < file.bytes < 1.35 * TABLE_BYTES, format


def test_onnx_files_are_named_as_optimum_and_transformers_js_expect(bundles):
    bundle = bundles("t5", "fp32")
    parts = {p.name: p for p in artifact(bundle, "onnx").parts}
    assert parts["encode"].path == "onnx/encoder_model.onnx"
    assert parts["decode"].path == "onnx/decoder_model_merged.onnx"
    decoder = onnx.load(bundle / parts["decode"].path)
    onnx.checker.check_model(decoder)
    cache = [
        f"{layer}.{part}.{kind}" for layer in (0, 1) for part in ("decoder", "encoder") for kind in ("key", "value")
    ]
    assert {i.name for i in decoder.graph.input} == {
        "encoder_attention_mask", "input_ids", "encoder_hidden_states", "use_cache_branch",
        *(f"past_key_values.{c}" for c in cache),
    }  # fmt: skip
    assert [o.name for o in decoder.graph.output] == ["logits", *(f"present.{c}" for c in cache)]


def test_onnx_takes_a_padded_batch_and_several_tokens_at_once(models, bundles):
    import onnxruntime
    import torch

    bundle, model = bundles("bart", "fp32"), reference(models("bart"))
    encoder, decoder = (onnxruntime.InferenceSession(bundle / p.path) for p in artifact(bundle, "onnx").parts)
    ids = np.array([[5, 6, 7, 8, 1], [9, 4, 1, 0, 0]])
    mask, told = (ids != 0).astype(np.int64), np.array([[1, 3, 16, 43], [1, 3, 42, 40]])
    (hidden,) = encoder.run(None, {"input_ids": ids, "attention_mask": mask})
    empty = {i.name: np.zeros((2, 4, 0, 8), np.float32) for i in decoder.get_inputs() if i.name.startswith("past")}
    fixed = {"encoder_attention_mask": mask, "encoder_hidden_states": hidden}
    feeds = {**fixed, **empty, "input_ids": told, "use_cache_branch": np.array([False])}
    (logits,) = decoder.run(["logits"], feeds)
    with torch.inference_mode():
        expected = model(
            input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask), decoder_input_ids=torch.tensor(told)
        ).logits
    assert np.abs(logits - expected.numpy()).max() <= 1e-4


@pytest.mark.parametrize("format", FORMATS)
def test_no_more_text_and_no_more_answer_than_there_is_room_for(bundles, format):
    decoder, found = open_decoder(bundles("t5", "fp32"), format)
    state = decoder.encode([5, EOS])
    for _ in range(found.generation.max_new_tokens):
        state, _ = decoder.step(state, 7)
    if format != "onnx":
        with pytest.raises(ValueError, match="at most 24 tokens"):
            decoder.step(state, 7)
        with pytest.raises(ValueError, match="takes at most"):
            decoder.encode([5] * (LONGEST + 1))


@pytest.mark.parametrize(
    ("scheme", "formats"),
    [
        ("fp16", ("tflite", "onnx")),
        ("w8a8-dynamic", ("tflite", "onnx")),
        pytest.param("w8a8-dynamic", FORMATS, marks=pytest.mark.heavy),
    ],
)
def test_smaller_weights_answer_alike(bundles, scheme, formats):
    bundle = bundles("t5", scheme, formats)
    reports = {r["format"]: r for r in read_json(bundle / "parity.json")["reports"]}
    assert set(reports) == set(formats)
    for format, report in reports.items():
        found = artifact(bundle, format)
        assert report["verdict"] == "pass" and found.scheme == scheme
        assert report["answers"]["sequence_match"] >= 0.95 and report["answers"]["chrf_drop"] <= 0.5
        assert max(f.bytes for f in found.files) < (0.8 if scheme == "fp16" else 0.6) * TABLE_BYTES, "the table once"
    Cli(bundle).ok("verify", bundle)


def test_no_int8_product_can_saturate(bundles):
    """Seen in the files, because only x86 without VNNI saturates: what branches share is unsigned, and no zero point of
    a signed weight is another's."""
    bundle = bundles("t5", "w8a8-dynamic", ("tflite", "onnx"))
    found = artifact(bundle, "onnx")
    assert found.runtime.options == {"session.x64quantprecision": "1"}
    encoder, decoder = (onnx.load(bundle / part.path).graph for part in found.parts)
    assert {dtype for dtype, _, _ in products(decoder)} == {onnx.TensorProto.UINT8}
    signed = products(encoder)
    assert {dtype for dtype, _, _ in signed} == {onnx.TensorProto.INT8}
    assert len({zero for _, _, zero in signed}) == len({weight for _, weight, _ in signed}) == len(signed)


def products(graph):
    """(dtype, weight, zero point) of each MatMulInteger, those of branches too."""
    kinds = {t.name: t.data_type for t in graph.initializer}
    branches = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    nodes = [node for g in (graph, *branches) for node in g.node if node.op_type == "MatMulInteger"]
    assert nodes
    return [(kinds[node.input[1]], node.input[1], node.input[3]) for node in nodes]


def test_the_gate_closes_when_a_decoder_forgets_its_cache(bundles, tmp_path):
    """The merged decoder's later branch is made the first's: every step then begins anew."""
    bundle = tmp_path / "bundle"
    shutil.copytree(bundles("t5", "fp32"), bundle)
    path = bundle / "onnx/decoder_model_merged.onnx"
    model = onnx.load(path)
    flag = next(n for n in model.graph.node if n.op_type == "If")
    branches = {a.name: a for a in flag.attribute}
    branches["then_branch"].g.CopyFrom(branches["else_branch"].g)
    onnx.save(model, path)
    done = Cli(tmp_path)("verify", bundle, "--json", "--format", "onnx")
    failed = {c["name"]: c["detail"] for c in json.loads(done.stdout)[0]["checks"] if c["ok"] is False}
    assert done.returncode == 7 and "answers differ" in failed["golden onnx/decoder_model_merged.onnx"]


def test_a_family_without_graphs_is_refused_before_work(models, cli):
    shutil.copytree(models("t5") / "model", cli.folder / "model")
    config = json.loads((cli.folder / "model/config.json").read_text())
    config |= {"architectures": ["PegasusForConditionalGeneration"], "model_type": "pegasus"}
    (cli.folder / "model/config.json").write_text(json.dumps(config))
    write_pairs(cli.folder / "eval.csv", seed=1, rows=20)
    done = cli("model", "--target", "linux-x86_64", "--eval", "eval.csv", "--scheme", "fp32")
    assert done.returncode == 2 and "pegasus" in done.stderr and "t5, bart, marian" in done.stderr


def test_a_reference_that_answers_nan_is_refused(models, cli):
    from safetensors.numpy import load_file, save_file

    shutil.copytree(models("t5") / "model", cli.folder / "model")
    weights = load_file(cli.folder / "model/model.safetensors")
    weights["decoder.final_layer_norm.weight"] *= float("nan")
    save_file(weights, cli.folder / "model/model.safetensors", metadata={"format": "pt"})
    write_pairs(cli.folder / "eval.csv", seed=1, rows=20)
    done = cli("model", "--target", "linux-x86_64", "--eval", "eval.csv", "--scheme", "fp32", "--format", "onnx")
    assert done.returncode == 2 and "the reference itself answers NaN" in done.stderr


def test_a_checkpoint_that_asks_for_more_than_the_rules_is_refused(models, cli):
    shutil.copytree(models("t5") / "model", cli.folder / "model")
    path = cli.folder / "model/generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repetition_penalty": 40.0}))
    write_pairs(cli.folder / "eval.csv", seed=1, rows=20)
    done = cli("model", "--target", "linux-x86_64", "--eval", "eval.csv", "--scheme", "fp32", "--format", "onnx")
    assert done.returncode == 2 and "generation_config.json" in done.stderr and "penalties" in done.stderr
