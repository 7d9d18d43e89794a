"""A bundle as a Play asset pack: a Gradle module for models that are too large for an app's base module."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from slm_export.bundle.packs.android import DIRECTORY, library
from slm_export.bundle.packs.content import Content

LIMITS = "Google Play takes asset packs of up to 1.5 GB, and 4 GB of install-time packs together, to download."


def pack_name(name: str) -> str:
    """Letters, digits and underscores, a letter first."""
    return "slm_" + re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write(content: Content, folder: Path) -> None:
    """A Gradle module named after the model, and README.md, into the new folder `folder`."""
    manifest, name = content.manifest, pack_name(content.manifest.name)
    assets = folder / name / "src/main/assets" / DIRECTORY / manifest.name
    for path, file in sorted(content.files.items()):
        (assets / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, assets / path)
    build = (
        'plugins { id("com.android.asset-pack") }\n\n'
        f'assetPack {{\n    packName.set("{name}")\n    dynamicDelivery {{ deliveryType.set("install-time") }}\n}}\n'
    )
    (folder / name / "build.gradle.kts").write_text(build, encoding="utf-8")
    runtimes = "".join(
        f'    implementation("{library(manifest, e.artifact)}")  // for {e.artifact.path}\n' for e in manifest.artifacts
    )
    suffixes = ", ".join(f'"{suffix.removeprefix(".")}"' for suffix in content.suffixes)
    readme = (
        f"# {manifest.name} as a Play asset pack\n\n"
        f"Copy the folder `{name}` beside `app`, then:\n\n"
        "```kotlin\n// settings.gradle.kts\n"
        f'include(":{name}")\n\n'
        "// app/build.gradle.kts\nandroid {\n"
        f'    assetPacks += listOf(":{name}")\n'
        f"    androidResources {{ noCompress += listOf({suffixes}) }}\n}}\n"
        f"dependencies {{\n{runtimes}}}\n```\n\n"
        f'Delivered at install time, its files are assets of the app: `assets.open("{DIRECTORY}/{manifest.name}/'
        f'manifest.json")`. {LIMITS}\n'
    )
    (folder / "README.md").write_text(readme, encoding="utf-8")
