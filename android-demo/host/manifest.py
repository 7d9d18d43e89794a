"""The merged manifest: the app's, what the Gradle files say of it, and what its libraries add."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from project import APP, NAMESPACE, VERSIONS, setting

ANDROID = "http://schemas.android.com/apk/res/android"
TOOLS = "{http://schemas.android.com/tools}"


def write_merged(target: Path, aars: Sequence[Path]) -> None:
    ET.register_namespace("android", ANDROID)
    source = (APP / "src/main/AndroidManifest.xml").read_text()
    root = ET.fromstring(source.replace("${applicationId}", setting("applicationId")))
    root.set("package", NAMESPACE)
    levels = {f"{{{ANDROID}}}{name}Version": VERSIONS[name] for name in ("minSdk", "targetSdk")}
    root.insert(0, ET.Element("uses-sdk", levels))
    for aar in aars:
        if (aar / "AndroidManifest.xml").exists():
            _add(root, ET.parse(aar / "AndroidManifest.xml").getroot())
    for element in root.iter():
        element.attrib = {name: value for name, value in element.attrib.items() if not name.startswith(TOOLS)}
    ET.ElementTree(root).write(target, encoding="utf-8", xml_declaration=True)


def _add(root: ET.Element, library: ET.Element) -> None:
    application = root.find("application")
    assert application is not None, "AndroidManifest.xml has no <application>"
    application.extend(child for found in library.iter("application") for child in found)
    root.extend(child for child in library if child.tag not in ("uses-sdk", "application"))
