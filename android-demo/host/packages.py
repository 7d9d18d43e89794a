"""The APK and the AAB, and what is asserted of them."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import archive
import maven
from compiling import aapt2, app_classes, assets, framework, resources
from project import ABIS, NO_COMPRESS, VERSIONS, coordinates, setting
from runtimes import Runtimes
from steps import HOST, Options, fresh, java, java_home, run, step

PAGE_BYTES = 16384
# Without these the app cannot run what the host build says that it can.
EXPECTED = ("libexecutorch.so", "libtensorflowlite_jni.so", "libfbjni.so", "libc++_shared.so")


def apk(options: Options, runtimes: Runtimes) -> Path:
    made = options.out / "app.apk"
    package = resources(options, runtimes) / "binary.ap_"
    code, entries = dex(options, runtimes), _content(options, runtimes)
    key = options.cache / "throw-away.p12"

    def make() -> None:
        unsigned, signed = options.out / "unsigned.apk", options.out / "unchecked.apk"
        archive.write(unsigned, {**archive.read(package), **_code(code, ""), **entries})
        java(maven.classes(options, coordinates("apksig")), HOST / "Sign.java", key, unsigned, signed)
        unsigned.unlink()
        check(signed, run(aapt2(options), "dump", "badging", signed, capture_output=True).stdout)
        signed.rename(made)

    step(options, "apk", [package, *code, *entries, *entries.values()], made, make)
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB", flush=True)
    return made


def aab(options: Options, runtimes: Runtimes) -> Path:
    """For Google Play, which wants it signed with your own key."""
    made = options.out / "app.aab"
    package = resources(options, runtimes) / "proto.ap_"
    code, entries = dex(options, runtimes), _content(options, runtimes)
    stored = {"compression": {"uncompressedGlob": [f"assets/**.{suffix}" for suffix in NO_COMPRESS]}}
    aligned = {"uncompressNativeLibraries": {"enabled": True, "alignment": "PAGE_ALIGNMENT_16K"}}

    def make() -> None:
        module, config = options.out / "base.zip", options.out / "BundleConfig.json"
        proto = archive.read(package)
        proto["manifest/AndroidManifest.xml"] = proto.pop("AndroidManifest.xml")
        archive.write(module, {**proto, **_code(code, "dex/"), **entries})
        config.write_text(json.dumps({**stored, "optimizations": aligned}))
        made.unlink(missing_ok=True)
        tool = maven.classes(options, coordinates("bundletool"))
        main = "com.android.tools.build.bundletool.BundleToolMain"
        java(tool, main, "build-bundle", f"--modules={module}", f"--output={made}", f"--config={config}")
        java(tool, main, "validate", f"--bundle={made}", capture_output=True)
        module.unlink()

    step(options, "aab", [package, *code, *entries, *entries.values()], made, make)
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB", flush=True)
    return made


def dex(options: Options, runtimes: Runtimes) -> list[Path]:
    """The app's code, and that of its libraries, which changes more rarely and so is kept in the cache."""
    app, jars = app_classes(options, runtimes), runtimes.jars
    classpath = [argument for jar in jars for argument in ("--classpath", jar)]
    return [*_d8(options, "dex", [app], *classpath), *_d8(replace(options, out=options.cache), "dex-libraries", jars)]


def _d8(options: Options, name: str, inputs: Sequence[Path], *more: Any) -> list[Path]:
    made = options.out / name
    # the framework's jar has no java.*: the JDK's is taken
    how = ["--release", "--min-api", VERSIONS["minSdk"], "--lib", framework(options), "--lib", java_home(), *more]

    def make() -> None:
        files = [file for path in inputs for file in (sorted(path.rglob("*.class")) if path.is_dir() else [path])]
        compiler = maven.classes(options, alone=coordinates("r8"))
        java(compiler, "com.android.tools.r8.D8", *how, "--output", fresh(made), *files)

    return sorted(step(options, name, [*inputs, *map(str, how)], made, make).glob("*.dex"))


def _content(options: Options, runtimes: Runtimes) -> dict[str, bytes | Path]:
    """What an APK and a module of an AAB have in common beside resources and code."""
    natives = {f"lib/{abi}/{path.name}": path for abi in ABIS for path in runtimes.natives(abi)}
    return {**natives, **{f"assets/{name}": path for name, path in assets(options).items()}}


def _code(files: Sequence[Path], prefix: str) -> Mapping[str, Path]:
    return {f"{prefix}classes{number if number > 1 else ''}.dex": path for number, path in enumerate(files, 1)}


def check(package: Path, badging: str) -> None:
    """Raises SystemExit with all that is not as it must be."""
    with zipfile.ZipFile(package) as file:
        entries = {entry.filename: entry for entry in file.infolist()}
    wrong = [*_wrong_manifest(badging), *_wrong_natives(package, entries), *_compressed(entries)]
    if wrong:
        raise SystemExit(f"{package} is not as it must be:\n  " + "\n  ".join(wrong))


def _wrong_manifest(badging: str) -> list[str]:
    wanted = [
        f"package: name='{setting('applicationId')}'",
        f"targetSdkVersion:'{VERSIONS['targetSdk']}'",
        "launchable-activity:",
        *(f"'{abi}'" for abi in ABIS),
    ]
    levels = [f"sdkVersion:'{VERSIONS['minSdk']}'", f"minSdkVersion:'{VERSIONS['minSdk']}'"]  # older and newer aapt2
    missing = [f"no {what} in the manifest" for what in wanted if what not in badging]
    missing += [] if any(level in badging for level in levels) else [f"minSdk is not {VERSIONS['minSdk']}"]
    asked = re.findall(r"^uses-permission.*", badging, re.MULTILINE)
    return missing + [f"the app asks for a permission, it must ask for none: {line}" for line in asked]


def _wrong_natives(package: Path, entries: Mapping[str, zipfile.ZipInfo]) -> list[str]:
    expected = [f"lib/{abi}/{name}" for abi in ABIS for name in EXPECTED]
    return [f"no {name}" for name in expected if name not in entries] + [
        f"{name} does not begin at a page of {PAGE_BYTES} bytes"
        for name, entry in entries.items()
        if name.endswith(".so") and archive.offset(package, entry) % PAGE_BYTES
    ]


def _compressed(entries: Mapping[str, zipfile.ZipInfo]) -> list[str]:
    return [
        f"{name} is compressed"
        for name, entry in entries.items()
        if name.endswith(archive.STORED) and entry.compress_type != zipfile.ZIP_STORED
    ]
