"""A target's profile: what its TOML file says, once read and checked."""

from __future__ import annotations

from dataclasses import field, replace

from slm_export.records import record


@record
class RuntimeSpec:
    """One runtime of a target: what runs artifacts of a format there."""

    package: str  # the runtime's Python package, which is what parity runs on this host
    version: str  # the version the profile was tested with
    oldest: str  # the oldest version that must answer right
    backend: str
    schemes: tuple[str, ...]
    default_scheme: str
    oldest_for: dict[str, str] = field(default_factory=dict)  # by scheme, where it needs a newer one
    options: dict[str, str] = field(default_factory=dict)  # of its sessions; ONNX Runtime's config entries

    def in_scheme(self, scheme: str) -> RuntimeSpec:
        """The same with the oldest version that must answer right in a scheme."""
        return replace(self, oldest=self.oldest_for.get(scheme, self.oldest))


@record
class Shapes:
    max_length: int  # tokens
    buckets: tuple[int, ...]  # sequence lengths of a .tflite's signatures, tokens
    batch: int
    context: int = 2048  # tokens that a causal language model reads and writes, its max_length


@record
class Budgets:
    """Upper bounds; a missing one is not checked."""

    artifact_mb: float | None = None  # 1 MB = 10**6 bytes
    ram_mb: float | None = None  # weights and activations as read off the file, and as measured at the first load
    download_mb: float | None = None  # the whole bundle, deflated
    installed_mb: float | None = None  # the whole bundle


@record
class Limits:
    """Thresholds for one task and scheme: {metric: bound}, on the side names.METRICS says; and why.

    A row for every format ("*") holds for all of them; a row that names a format adds to it, or overrides it.
    """

    task: str
    scheme: str
    format: str  # "*" for every format
    bounds: dict[str, float]
    why: str


@record
class TargetProfile:
    name: str
    summary: str
    os: str
    isa: str
    abi: str
    bundle: str
    executors: tuple[str, ...]
    runtimes: dict[str, RuntimeSpec]
    shapes: Shapes
    budgets: Budgets
    limits: tuple[Limits, ...]

    def limits_for(self, *, task: str, scheme: str, format: str) -> Limits | None:
        """What holds for this artifact: the `*` row with the format's own row over it. None: there is neither."""
        rows = [r for r in self.limits if r.task == task and r.scheme == scheme and r.format in (format, "*")]
        rows.sort(key=lambda r: r.format == format)
        if not rows:
            return None
        bounds = {metric: bound for row in rows for metric, bound in row.bounds.items()}
        why = "; ".join(row.why for row in rows)
        return Limits(task=task, scheme=scheme, format=format, bounds=bounds, why=why)
