"""A bundle as a Play asset pack: a Gradle module for models that are too large for an app's base module."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from slm_export.bundle.packs.android import DIRECTORY, readme
from slm_export.bundle.packs.content import Content


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
    (folder / "README.md").write_text(readme("asset_pack.md", content, module=name), encoding="utf-8")
