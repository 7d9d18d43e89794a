"""pack: from a bundle, which stays as it is, the folder that an app's build takes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from slm_export.bundle.atomic import replace_folder, work_folder
from slm_export.bundle.packs import android, asset_pack
from slm_export.bundle.packs.content import content
from slm_export.errors import UsageError, nearest
from slm_export.names import PACKS

GROUP, VERSION = "dev.slmexport.models", "1.0.0"


def pack(
    bundle: Path,
    kind: str,
    *,
    out: Path,
    formats: Collection[str] = (),
    group: str = GROUP,
    version: str = VERSION,
) -> Path:
    """Write out/<name>-<target>-<kind>, and give its path. The same bundle gives the same bytes.

    `formats` limits which artifacts are in it; `group` and `version` are Maven's, of the kind "android".
    Raises UsageError for a kind, format, group or version that cannot be, VerificationError if the bundle is not what
    its manifest says.
    """
    if kind not in PACKS:
        raise UsageError(f"there is no pack {kind!r}", why=nearest(kind, PACKS))
    with work_folder(out) as work:
        held = content(bundle, formats, work)
        at = android.coordinates(held.manifest.name, group, version)
        made = work / "pack"
        made.mkdir()
        if kind == "android":
            android.write(held, made, at)
        else:
            asset_pack.write(held, made)
        target = out / f"{held.manifest.name}-{held.manifest.target}-{kind}"
        replace_folder(made, target)
    return target
