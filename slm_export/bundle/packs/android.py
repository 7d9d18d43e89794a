"""A bundle as an Android library: an AAR in a Maven repository, with constants that an app's code needs."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from slm_export.artifact import Artifact
from slm_export.bundle.manifest import Manifest
from slm_export.bundle.packs import archive, constants, maven
from slm_export.bundle.packs.content import Content
from slm_export.bundle.packs.maven import Coordinates, Description
from slm_export.errors import UsageError
from slm_export.requirements import TESTED
from slm_export.tasks import CAUSAL

MIN_SDK = 26
DIRECTORY = "slm"  # of the app's assets
# What an app's build names to get a format's runtime, and its version where it is not the one that ran here.
LIBRARIES = {
    "executorch": ("org.pytorch:executorch-android", None),
    "tflite": ("com.google.ai.edge.litert:litert", None),
    "onnx": ("com.microsoft.onnxruntime:onnxruntime-android", None),
}
CAUSAL_LIBRARIES = {
    **LIBRARIES,
    "tflite": ("com.google.ai.edge.litertlm:litertlm-android", TESTED["litert-lm-builder"]),
}


def coordinates(name: str, group: str, version: str) -> Coordinates:
    """Raises UsageError for what Gradle or Java would not take."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", group) or constants.KEYWORDS & {*group.split(".")}:
        raise UsageError(f"--group {group!r} is no Java package", next_step="write one like com.example.models")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", version):
        raise UsageError(f"--version {version!r} is no version", next_step="write one like 1.0.0")
    artifact = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    return Coordinates(group=group, artifact=artifact, version=version)


def write(content: Content, folder: Path, at: Coordinates) -> None:
    """README.md and maven/ into the new folder `folder`."""
    manifest = content.manifest
    home = maven.folder_of(folder / "maven", at)
    home.mkdir(parents=True)
    known, name = _constants(content), constants.class_name(manifest.name)
    package = f"{at.group}.{constants.package_name(at.artifact)}"
    classes = home / "classes.jar"
    archive.write(classes, {f"{package.replace('.', '/')}/{name}.class": constants.compiled(package, name, known)})
    files: dict[str, Path | bytes] = {
        "AndroidManifest.xml": _android_manifest(package).encode(),
        "META-INF/com/android/build/gradle/aar-metadata.properties": b"aarFormatVersion=1.0\naarMetadataVersion=1.0\n",
        "R.txt": b"",
        "classes.jar": classes,
        **{f"assets/{DIRECTORY}/{manifest.name}/{path}": file for path, file in content.files.items()},
    }
    archive.write(home / f"{at.artifact}-{at.version}.aar", files, stored=content.suffixes)
    classes.unlink()
    java = constants.source(package, name, known).encode()
    sources = {f"{package.replace('.', '/')}/{name}.java": java}
    archive.write(home / f"{at.artifact}-{at.version}-sources.jar", sources)
    summary = f"{manifest.source.architecture} for {manifest.task}, exported by slm-export for {manifest.target}"
    described = Description(name=manifest.name, summary=summary, license=manifest.source.license)
    maven.publish(folder / "maven", at, described)
    told = readme(
        "android.md",
        content,
        coordinates=at,
        package=package,
        constants=name,
        min_sdk=MIN_SDK,
        format=constants.constant_name(manifest.artifacts[0].artifact.format),
        megabytes=f"{sum(f.stat().st_size for f in content.files.values()) / 1e6:.1f}",
    )
    (folder / "README.md").write_text(told, encoding="utf-8")


def _constants(content: Content) -> dict[str, constants.Value]:
    """Labels beyond what a class can hold stay in labels.json. Paths are relative to DIRECTORY, as in the manifest."""
    manifest = content.manifest
    known: dict[str, constants.Value] = {
        "NAME": manifest.name,
        "TASK": manifest.task,
        "DIRECTORY": f"{DIRECTORY}/{manifest.name}",
        "MANIFEST_SHA256": content.manifest_sha256,
        "SOURCE_SHA256": manifest.source.sha256,
        "MAX_LENGTH": manifest.max_length,
        "PAD_ID": manifest.artifacts[0].artifact.pad_id,
    }
    if manifest.labels and constants.can_hold(manifest.labels):
        known["LABELS"] = manifest.labels
    for entry in manifest.artifacts:
        artifact, format = entry.artifact, constants.constant_name(entry.artifact.format)
        known[f"{format}_PATH"] = artifact.path
        known[f"{format}_FILES"] = tuple(f.path for f in artifact.files)
        known[f"{format}_SHA256"] = next(f.sha256 for f in artifact.files if f.path == artifact.path)
        known[f"{format}_INPUTS"] = tuple(spec.name for spec in artifact.inputs)
        known[f"{format}_OUTPUTS"] = tuple(spec.name for spec in artifact.outputs)
    return known


def _android_manifest(package: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="{package}">\n'
        f'    <uses-sdk android:minSdkVersion="{MIN_SDK}" />\n</manifest>\n'
    )


def readme(template: str, content: Content, **more: object) -> str:
    """A template of this folder, filled in; `more` beside what every kind of pack tells."""
    manifest = content.manifest
    lines = [
        f'    implementation("{library(manifest, e.artifact)}")  // for {e.artifact.path}' for e in manifest.artifacts
    ]
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    return Template(text).substitute(
        name=manifest.name,
        directory=f"{DIRECTORY}/{manifest.name}",
        suffixes=", ".join(f'"{suffix.removeprefix(".")}"' for suffix in content.suffixes),
        runtimes="\n".join(lines),
        **more,
    )


def library(manifest: Manifest, artifact: Artifact) -> str:
    """Maven coordinates of the artifact's runtime."""
    causal = manifest.task in CAUSAL
    name, version = (CAUSAL_LIBRARIES if causal else LIBRARIES)[artifact.format]
    return f"{name}:{version or artifact.runtime.version}"
