"""The Android demo where Gradle cannot run: built, and its tests run by the app's own classes, on bundles made here."""

import hashlib
import json
import shutil
import xml.etree.ElementTree as ET

import pytest

from slm_export.bundle.manifest import read_golden, read_manifest
from slm_export.devices import report
from slm_export.records import read_json
from tests.android.host import asset_pack, host_build, needs_tools
from tests.android.tokenizer_cases import write_cases
from tests.conftest import Cli
from tests.tiny import make_tiny_embedder, make_tiny_model, write_rows

pytestmark = [needs_tools, pytest.mark.usefixtures("warm")]
CHATS = (
    [("user", "the a my")],
    [("system", "is it"), ("user", " the  \n"), ("assistant", ""), ("user", "x <|im_end|> y")],
)
MUST_RUN = {  # of real inference and of what people see: none of these may be left out for want of something
    "selftest.SelfTestTest": ("everyArtifactAnswersAsWhereItWasMade", "aBrokenFileIsToldInTheRuntimesWords"),
    "task.TaskTest": (
        "aClassifiersFirstScoreIsItsLabel", "aTaggersSpansAreItsTags", "anAnswerIsWhereTheContextHasIt",
        "aTextIsNearestToItself",
    ),
    "task.WriterTest": (
        "everyRuntimeWritesTheSame", "writingStopsWhenItIsTold", "aChatIsWrittenAsItsTemplateWritesIt",
    ),
    "tokenizer.TokenizerTest": ("agreesWithTheRustLibrary",),
    "ui.AskScreenTest": (
        "aTextGetsTheLabelThatItHadWhereTheBundleWasMade", "entitiesAreMarkedInTheText", "neighboursAreRanked",
        "theAnswerIsMarkedInTheContext", "turningTheDeviceKeepsTextAndReplyAndAsksNothingAgain",
    ),
    "ui.TalkPanelTest": ("anAnswerIsWrittenTokenByToken", "stopEndsTheAnswer"),
    "ui.SelfTestScreenTest": (
        "theVerdictsOfThreeRuntimes", "aChangedFileAndAnotherAnswerFail",
        "slmExportFindsTheReportOfTheTestThatItAskedFor",
    ),
}  # fmt: skip


def small(work, name, head):
    """A bundle with an .onnx of float32."""
    folder = work / name
    folder.mkdir()
    embeds = head == "feature-extraction"
    if embeds:
        make_tiny_embedder(folder / "model", pooling="mean", steps=["Pooling", "Normalize"], seed=0)
    else:
        make_tiny_model(folder / "model", task=head, seed=0)
    for file, seed, rows in (("calibration", 10, 60), ("eval", 11, 120)):
        write_rows(folder / f"{file}.jsonl", "text-classification" if embeds else head, seed=seed, rows=rows)
    data = ("--calibration", "calibration.jsonl", "--eval", "eval.jsonl", "--max-length", 24)
    flags = ("--target", "linux-x86_64", "--scheme", "fp32", "--format", "onnx", "--name", name, "-o", "dist")
    Cli(folder).ok("model", *flags, *data)
    return folder / "dist" / f"{name}-linux-x86_64"


@pytest.fixture(scope="module")
def bundles(example_bundle, make_bundle, causal_bundle, tmp_path_factory):
    """Folders by name: what an app finds in assets/slm."""
    folder, work = tmp_path_factory.mktemp("bundles"), tmp_path_factory.mktemp("made")
    made = {
        "intents": asset_pack(work, example_bundle, "executorch", "onnx"),
        "words": make_bundle("--scheme", "fp32"),
        "writer": causal_bundle("llama", "w4a8-dynamic", "executorch", "tflite", "onnx"),
        "tags": small(work, "tags", "token-classification"),
        "answers": small(work, "answers", "question-answering"),
        "masks": small(work, "masks", "fill-mask"),
        "sentences": small(work, "sentences", "feature-extraction"),
    }
    for name, path in made.items():
        shutil.copytree(path, folder / name)
    write_chats(folder, folder / "writer")
    return folder


def write_chats(folder, bundle):
    """Conversations with what the template itself makes of them."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    manifest = read_json(bundle / "manifest.json")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(manifest["tokenizer"]["chat_template"])
    cases = []
    for chat in CHATS:
        turns = [{"role": role, "content": content} for role, content in chat]
        cases.append({"turns": turns, "text": template.render(messages=turns, add_generation_prompt=True)})
    (folder / f"{manifest['name']}.chats.json").write_text(json.dumps(cases), encoding="utf-8")


@pytest.fixture(scope="module")
def built(bundles, tmp_path_factory):
    """What the host build printed, and the folder with what it made."""
    out, cases = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("tokenizers")
    write_cases(cases)
    folders = [path.parent for path in sorted(bundles.glob("*/manifest.json"))]
    return host_build("all", folders, out, "--tokenizers", cases), out


def test_every_suite_runs_and_nothing_that_matters_is_left_out(built):
    said, out = built
    for suite, tests in MUST_RUN.items():
        (report,) = (out / "reports").glob(f"TEST-*.{suite}.xml")
        cases = {case.get("name"): [child.tag for child in case] for case in ET.parse(report).getroot()}
        assert cases and not {name: cases.get(name) for name in tests if cases.get(name) != []}, (suite, cases, said)


def test_screens_are_drawn_in_light_and_dark(built):
    _, out = built
    shots = {path.stem for path in (out / "screenshots").glob("*.png")}
    by_day = {"ask-classification", "ask-tags", "ask-answer", "ask-neighbours", "ask-chat", "self-test-fail", "about"}
    by_night = {"ask-classification-dark", "ask-chat-dark", "self-test-dark", "about-dark"}
    assert by_day | by_night <= shots, sorted(shots)


def test_an_apk_and_an_app_bundle_are_made(built):
    said, out = built
    assert (out / "app.apk").stat().st_size > 10_000_000 and (out / "app.aab").is_file(), said


def test_slm_export_reads_the_apps_report_and_comes_to_the_same_verdicts(built, bundles):
    _, out = built
    told = report.read((out / "screenshots/report.json").read_bytes(), "report.json")
    for folder in sorted(path.parent for path in bundles.glob("*/manifest.json")):
        manifest, golden = read_manifest(folder), read_golden(folder / "golden.json")
        sha256 = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
        artifacts = [entry.artifact for entry in manifest.artifacts]
        for outcome in report.judge(report.of_bundle(told, sha256), artifacts, golden):
            skipped = outcome.path.endswith(".litertlm")  # of which the device proves nothing
            assert outcome.passed != skipped and not outcome.differs, (folder.name, outcome)
