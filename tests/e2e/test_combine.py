"""Several models behind one manifest."""

import hashlib
import json
import shutil

import pytest

from slm_export.records import read_json
from tests.conftest import tiny_args

pytestmark = pytest.mark.usefixtures("warm")  # processes are the other files' subject

FLAGS = ["--scheme", "fp32", "--format", "onnx"]


@pytest.fixture
def two(tiny, other_tiny, cli):
    for name, source in (("topics", tiny), ("others", other_tiny)):
        cli.ok(*tiny_args(source, "dist", "--name", name, *FLAGS))
    return ["dist/topics-linux-x86_64", "dist/others-linux-x86_64"]


def test_two_models_stand_behind_one_manifest_and_verify(two, cli):
    done = cli.ok("combine", *two, "--name", "both", "-o", "app")
    bundle = cli.folder / done.stdout.strip()
    assert bundle == cli.folder / "app/both-linux-x86_64"
    manifest = read_json(bundle / "manifest.json")
    assert [(m["name"], m["task"]) for m in manifest["models"]] == [
        ("topics", "text-classification"), ("others", "text-classification"),
    ]  # fmt: skip
    (file,) = [f for f in manifest["shared"] if (bundle / f["path"]).read_bytes().startswith(b'{"version"')]
    assert hashlib.sha256((bundle / file["path"]).read_bytes()).hexdigest() == file["sha256"]
    assert not list(bundle.rglob("tokenizer.json")), "once, as shared/<SHA-256>"
    together, alone = (cli.ok("run", folder, "yes no", "--json").stdout for folder in (bundle / "topics", two[0]))
    assert json.loads(together)["answer"] == json.loads(alone)["answer"]
    cli.ok("combine", bundle / "topics", bundle / "others", "--name", "again", "-o", "app")
    cli.ok("verify", "app/again-linux-x86_64")
    for done in (cli("run", bundle, "yes"), cli("pack", bundle, "--as", "android", "-o", "app")):
        assert done.returncode == 7 and "holds several models" in done.stderr and "/topics" in done.stderr
    cli.ok("pack", bundle / "topics", "--as", "play-asset-pack", "-o", "app")
    checked = json.loads(cli.ok("verify", bundle, "--json").stdout)
    assert [len(v["checks"]) > 3 for v in checked[1:]] == [True, True]
    before = {p.relative_to(bundle): p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    cli.ok("combine", *two, "--name", "both", "-o", "app")
    assert before == {p.relative_to(bundle): p.read_bytes() for p in bundle.rglob("*") if p.is_file()}

    whole = (bundle / file["path"]).read_bytes()
    (bundle / file["path"]).write_bytes(whole + b" ")
    assert f"{file['path']} has another SHA-256" in cli("verify", bundle).stdout
    (bundle / file["path"]).write_bytes(whole)
    shutil.copy(bundle / "others/manifest.json", bundle / "topics/manifest.json")
    done = cli("verify", bundle)
    assert done.returncode == 7 and "topics/manifest.json has another SHA-256" in done.stdout
    shutil.rmtree(bundle / "topics")
    done = cli("verify", bundle)
    assert done.returncode == 7 and "topics/manifest.json is missing" in done.stdout + done.stderr


def test_what_does_not_go_together_is_told(two, tiny, cli):
    for args, message in (
        (two[:1], "one bundle is nothing to combine"),
        ([two[0], two[0] + "/../topics-linux-x86_64"], "two bundles are named topics"),
    ):
        done = cli("combine", *args, "--name", "both")
        assert done.returncode == 2 and message in done.stderr
    done = cli("combine", *two, "--name", "a/b")
    assert done.returncode == 2 and "cannot be part of a folder's name" in done.stderr
    done = cli("combine", two[0], "nowhere", "--name", "both")
    assert done.returncode == 7 and "is no bundle" in done.stderr
    other = cli.folder / "other"
    shutil.copytree(cli.folder / two[1], other)
    manifest = read_json(other / "manifest.json")
    (other / "manifest.json").write_text(json.dumps({**manifest, "target": "ios-arm64"}))
    done = cli("combine", two[0], other, "--name", "both")
    assert done.returncode == 2 and "different targets: ios-arm64, linux-x86_64" in done.stderr
