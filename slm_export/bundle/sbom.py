"""sbom.cdx.json: what a bundle was made of and with, as a CycloneDX 1.6 bill of materials.

The bundle itself is the component described. Its parts are the source model with every file's hash, the data that
drove and judged quantization, the artifacts, and the runtimes they ran in; the tools are slm-export and the libraries
that made the artifacts. There is no time in it, and its serial number is made of its content.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_export.bundle.manifest import Manifest, SourceEntry
from slm_export.errors import VerificationError
from slm_export.records import read_json, record

if TYPE_CHECKING:
    from cyclonedx.model.component import Component, ComponentType

NAME = "sbom.cdx.json"
MOST_OF_A_LICENSE = 40  # characters
NAMESPACE = uuid.UUID("6c8f6e5c-6f0e-5b0a-9a0e-3f6f2a1d7c11")  # of serial numbers; any constant does


@record
class Data:
    """A file of texts, and what it was for."""

    name: str
    sha256: str
    purpose: str


def sbom(manifest: Manifest, data: Sequence[Data]) -> str:
    """JSON, indented, that ends with a line end."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository
    from cyclonedx.output.json import JsonV1Dot6

    described = _component(
        "bundle", manifest.name, ComponentType.MACHINE_LEARNING_MODEL, license=manifest.source.license
    )
    source, artifacts = _source(manifest.source), list(_artifacts(manifest))
    runtimes, sets = list(_runtimes(manifest)), list(_data(data))
    tools = [_package(name, version, f"tool:{name}") for name, version in sorted(manifest.versions.items())]
    bom = Bom(
        metadata=BomMetaData(component=described, tools=ToolRepository(components=tools)),
        components=[source, *artifacts, *runtimes, *sets],
    )
    bom.register_dependency(described, artifacts)
    for artifact in artifacts:
        bom.register_dependency(artifact, [source, *sets])
    made = json.loads(JsonV1Dot6(bom).output_as_string())
    del made["metadata"]["timestamp"]
    del made["serialNumber"]
    made["serialNumber"] = uuid.uuid5(NAMESPACE, json.dumps(made, sort_keys=True)).urn
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _component(ref: str, name: str, type: ComponentType, *, license: str | None = None, **more: Any) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component

    licenses = [LicenseFactory().make_from_string(license)] if license else []
    return Component(name=name, type=type, bom_ref=ref, licenses=licenses, **more)


def _source(source: SourceEntry) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    files = [_file(f"source:{name}", name, sha256) for name, sha256 in sorted(source.files.items())]
    owner, _, name = (source.hub_id or "").rpartition("/")
    purl = PackageURL("huggingface", owner or None, name, version=source.revision) if source.hub_id else None
    facts = {"architecture": source.architecture, "kind": source.kind, **(source.adapter or {})}
    properties = [Property(name=f"slm-export:{key}", value=str(value)) for key, value in facts.items()]
    return _component(
        "source", source.name, ComponentType.MACHINE_LEARNING_MODEL, license=source.license, version=source.revision,
        hashes=_sha256(source.sha256), purl=purl, components=files, properties=properties,
    )  # fmt: skip


def _artifacts(manifest: Manifest) -> Iterator[Component]:
    for entry in manifest.artifacts:
        for file in entry.artifact.files:
            yield _file(f"artifact:{file.path}", file.path, file.sha256)


def _runtimes(manifest: Manifest) -> Iterator[Component]:
    for package, version in sorted(
        {(e.artifact.runtime.package, e.artifact.runtime.version) for e in manifest.artifacts}
    ):
        yield _package(package, version, f"runtime:{package}")


def _data(data: Iterable[Data]) -> Iterator[Component]:
    from cyclonedx.model.component import ComponentType

    for used in data:
        yield _component(
            f"data:{used.purpose}", used.name, ComponentType.DATA, description=used.purpose, hashes=_sha256(used.sha256)
        )


def _file(ref: str, path: str, sha256: str) -> Component:
    from cyclonedx.model.component import ComponentType

    return _component(ref, path, ComponentType.FILE, hashes=_sha256(sha256))


def _package(name: str, version: str, ref: str) -> Component:
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", None, name, version)
    return _component(ref, name, ComponentType.LIBRARY, license=_license(name), version=version, purl=purl)


def _license(distribution: str) -> str | None:
    """As the installed package says in one word; many say nothing, or the whole text."""
    try:
        said = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return None
    license = said["License-Expression"] or said["License"]
    return license if license and len(license) < MOST_OF_A_LICENSE and license != "UNKNOWN" else None


def _sha256(value: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=value)]


def problems(path: Path, manifest: Manifest) -> list[str]:
    """What is wrong with a bundle's bill of materials: each artifact must be in it with its hash, and the source."""
    try:
        listed = {c["bom-ref"]: {h["content"] for h in c.get("hashes", ())} for c in read_json(path)["components"]}
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as err:
        raise VerificationError(f"{path} is no CycloneDX bill of materials: {err}", where=str(path)) from err
    expected = {"source": manifest.source.sha256}
    expected |= {f"artifact:{f.path}": f.sha256 for e in manifest.artifacts for f in e.artifact.files}
    return [f"{ref} is not in it with its hash" for ref, sha in expected.items() if sha not in listed.get(ref, ())]
