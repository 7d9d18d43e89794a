"""slm-export pack: what an app's build takes."""

import hashlib
import json
import shutil
import zipfile

from slm_export.records import read_json

HOME = "maven/dev/slmexport/models/banking-intents/1.0.0/banking-intents-1.0.0"
ASSETS = "assets/slm/banking-intents/"


def packed(bundle):
    """Beside the bundle of the example, whose target asks for it."""
    return bundle.with_name(f"{bundle.name}-android")


def test_a_target_for_android_gives_an_aar_that_holds_the_bundle(example_bundle):
    with zipfile.ZipFile(packed(example_bundle) / f"{HOME}.aar") as aar:
        names = set(aar.namelist())
        held = {n.removeprefix(ASSETS) for n in names if n.startswith(ASSETS)}
        assert held == {p.relative_to(example_bundle).as_posix() for p in example_bundle.rglob("*") if p.is_file()}
        assert all(aar.read(ASSETS + n) == (example_bundle / n).read_bytes() for n in held)
        assert {"AndroidManifest.xml", "classes.jar", "R.txt"} <= names
        models = [i for i in aar.infolist() if i.filename.endswith((".onnx", ".pte", ".tflite"))]
        assert len(models) == 3 and all(i.compress_type == zipfile.ZIP_STORED for i in models)


def test_the_repository_says_what_is_in_it(example_bundle):
    folder = (packed(example_bundle) / HOME).parent
    module = json.loads((packed(example_bundle) / f"{HOME}.module").read_text())
    for variant in module["variants"]:
        for file in variant["files"]:
            data = (folder / file["url"]).read_bytes()
            assert file["size"] == len(data) and file["sha512"] == hashlib.sha512(data).hexdigest()
    assert {v["attributes"]["org.gradle.usage"] for v in module["variants"]} == {"java-api", "java-runtime"}
    pom = (packed(example_bundle) / f"{HOME}.pom").read_text()
    assert "<packaging>aar</packaging>" in pom and "published-with-gradle-metadata" in pom and "cc-by-4.0" in pom
    plain = [p for p in folder.rglob("*") if p.suffix not in (".md5", ".sha1", ".sha256", ".sha512")]
    for path in plain:
        for kind in ("md5", "sha1", "sha256", "sha512"):
            said = path.with_name(f"{path.name}.{kind}").read_text()
            assert said == hashlib.new(kind, path.read_bytes()).hexdigest()


def test_its_constants_and_readme_name_what_the_manifest_names(example_bundle):
    manifest = read_json(example_bundle / "manifest.json")
    with zipfile.ZipFile(packed(example_bundle) / f"{HOME}-sources.jar") as sources:
        (name,) = sources.namelist()
        source = sources.read(name).decode()
    assert name == "dev/slmexport/models/banking_intents/BankingIntents.java"
    sha256 = hashlib.sha256((example_bundle / "manifest.json").read_bytes()).hexdigest()
    assert f'MANIFEST_SHA256 = "{sha256}"' in source and f"MAX_LENGTH = {manifest['max_length']};" in source
    assert all(json.dumps(label) in source for label in manifest["labels"])
    readme = (packed(example_bundle) / "README.md").read_text()
    assert 'implementation("dev.slmexport.models:banking-intents:1.0.0")' in readme
    for artifact in manifest["artifacts"]:
        assert f':{artifact["runtime"]["version"]}")  // for {artifact["path"]}' in readme
        assert artifact["files"][0]["sha256"] in source
        format, paths = artifact["format"].upper(), ", ".join(json.dumps(f["path"]) for f in artifact["files"])
        assert f"{format}_FILES = {{{paths}}};" in source and f'{format}_PATH = "{artifact["path"]}";' in source


def test_packing_again_gives_the_same_bytes_and_some_of_the_formats_when_asked(example_bundle, cli):
    cli.ok("pack", example_bundle, "--as", "android", "-o", "again")
    again = cli.folder / "again" / packed(example_bundle).name
    files = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(packed(example_bundle)) for p in packed(example_bundle).rglob("*") if p.is_file()
    )
    assert all((again / f).read_bytes() == (packed(example_bundle) / f).read_bytes() for f in files)
    flags = ("--as", "android", "--format", "onnx", "--group", "com.example", "--version", "2.1", "-o", "some")
    cli.ok("pack", example_bundle, *flags)
    home = cli.folder / "some" / packed(example_bundle).name / "maven/com/example/banking-intents/2.1"
    with zipfile.ZipFile(home / "banking-intents-2.1.aar") as aar:
        aar.extractall(cli.folder / "aar")
    cli.ok("verify", cli.folder / "aar" / ASSETS)
    assert not (cli.folder / "aar" / ASSETS / "tflite").exists()


def test_an_asset_pack_is_a_gradle_module_whose_assets_verify(example_bundle, cli):
    cli.ok("pack", example_bundle, "--as", "play-asset-pack", "-o", "out")
    folder = cli.folder / "out" / f"{example_bundle.name}-play-asset-pack"
    module = folder / "slm_banking_intents"
    assert 'id("com.android.asset-pack")' in (module / "build.gradle.kts").read_text()
    assert ':slm_banking_intents"' in (folder / "README.md").read_text()
    cli.ok("verify", module / "src/main" / ASSETS)


def test_a_changed_bundle_is_not_packed(example_bundle, cli):
    shutil.copytree(example_bundle, cli.folder / "bundle")
    (cli.folder / "bundle/labels.json").write_text("[]")
    done = cli("pack", "bundle", "--as", "android", "-o", "out")
    assert done.returncode == 7 and "labels.json has" in done.stderr and not any((cli.folder / "out").iterdir())
    done = cli("pack", example_bundle, "--as", "android", "--version", "../1", "-o", "out")
    assert done.returncode == 2 and "is no version" in done.stderr
