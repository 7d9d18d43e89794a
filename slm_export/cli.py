"""The command line: each command parses, calls one public function, prints. No model logic, no heavy import."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import slm_export
from slm_export.errors import INTERRUPTED, SlmExportError
from slm_export.names import AUTO, EFFORTS, EXECUTORS, FORMATS, IMPORTANCES, PACKS, RANKINGS, ROUNDINGS, SCHEMES, TASKS

FORMAT = click.Choice(FORMATS)


class DefaultGroup(click.Group):
    """A group whose first command is run when none is named: slm-export MODEL ... is slm-export export MODEL ..."""

    default = "export"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "--version"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        export = self.commands[self.default]
        with formatter.section("Options of the export"):
            formatter.write_dl([r for p in export.get_params(ctx) if (r := p.get_help_record(ctx))])
        self.format_commands(ctx, formatter)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[MODEL] --target TARGET [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]", prefix="       ")


@click.group(cls=DefaultGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="slm-export")
def main() -> None:
    """Export a fine-tuned small language model for a device, and prove that it answers like the original.

    MODEL is a Hugging Face directory, a hub id, or module:factory of a classifier in plain PyTorch. For each format of
    the target (ExecuTorch, TFLite, ONNX) the model is quantized with the same integers, run in that format's runtime,
    and compared with the float model. What passes is written as one bundle, OUTPUT/<model>-<target>.

    \b
    Exit codes: 0 ok, 2 usage, config or data, 3 something is not installed or a device does not answer,
    4 export failed, 5 an artifact does not answer like the model, 6 too large for the target, 7 verification failed.
    """


def _data_path() -> click.Path:
    return click.Path(path_type=str)


EXPORT_OPTIONS: list[Callable[[Any], Any]] = [
    click.argument("model", required=False),
    click.option(
        "--weights", type=_data_path(), help="Of module:factory: directory with weights, tokenizer, model.json."
    ),
    click.option("--target", help="Target name (see `targets`) or the path of your own .toml."),
    click.option("--calibration", type=_data_path(), help="Texts like the app's; see --schema."),
    click.option("--eval", type=_data_path(), help="Texts that judge; default: held out of --calibration."),
    click.option("-o", "--output", type=_data_path(), help="Where bundles go.  [default: dist]"),
    click.option("--name", help="Name of the model in the bundle.  [default: the directory's]"),
    click.option("--task", type=click.Choice(list(TASKS)), help="What MODEL does.  [default: as its config says]"),
    click.option("--base", help="The model that the adapter MODEL belongs to.  [default: as the adapter says]"),
    click.option("--format", "format", type=FORMAT, multiple=True, help="Repeatable.  [default: the target's]"),
    click.option("--scheme", type=click.Choice([*SCHEMES, AUTO]), help="Quantization.  [default: the target's]"),
    click.option(
        "--max-drop",
        help="Most to lose of the task's metric: 0.5% (points), 0.5%rel (of its value); of a causal model 0.05 (nats "
        "of KL divergence) or 2%rel (of its perplexity).",
    ),
    click.option("--max-size", help="Largest artifact, such as 25MB. With --scheme auto: the best that fits."),
    click.option("--max-length", type=int, help="Most tokens an artifact takes.  [default: the target's]"),
    click.option("--batch", type=int, help="Most texts in one call; ONNX takes any.  [default: the target's]"),
    click.option(
        "--rounding",
        type=click.Choice(list(ROUNDINGS)),
        help="Of 4-bit weights.  [default: awq+gptq; without --calibration mse]",
    ),
    click.option(
        "--int8-share", type=click.FloatRange(0, 1), help="Of 4-bit weights: so many, the most sensitive, get 8 bits."
    ),
    click.option(
        "--int8-by",
        type=click.Choice(list(RANKINGS)),
        help="How it is told which those are.  [default: gradient of causal models, else hessian]",
    ),
    click.option(
        "--effort",
        type=click.Choice(list(EFFORTS)),
        help="high: after rounding to 4 bits, scales and norms learn from the float model, for minutes.  "
        "[default: default]",
    ),
    click.option(
        "--prune",
        help="What to take away: shares of neurons and heads, a number of blocks, a share of weights to set to zero: "
        "ffn=0.2,heads=0.1,layers=2,weights=0.3, or some of these. Neurons stay in multiples of 32.",
    ),
    click.option(
        "--prune-by",
        type=click.Choice(list(IMPORTANCES)),
        help="How it is told which.  [default: activation; without --calibration l2]",
    ),
    click.option(
        "--heal",
        type=click.IntRange(min=0),
        help="Passes of distillation over calibration texts after --prune, 0: none.  [default: 4 with --calibration]",
    ),
    click.option("--seed", type=int, help="Of the calibration sample.  [default: 0]"),
    click.option("--calibration-samples", type=click.IntRange(min=1), help="[default: 128]"),
    click.option("--text-column", help="Name of the text column, where it is not found."),
    click.option("--label-column", help="Name of the label column, where it is not found."),
    click.option("--pair-column", help="Name of the second text's column, where it is not found."),
    click.option("--slice-column", help="Report the change by this column's values too."),
    click.option("--allow-overlap", is_flag=True, help="Calibrate on rows that also judge."),
    click.option("--revision", help="Of a hub id: branch, tag or commit."),
    click.option("--json", is_flag=True, help="Print the result as JSON; progress goes to stderr."),
    click.option("--junit", type=_data_path(), help="Write a JUnit file."),
    click.option("--report", type=_data_path(), help="Also write the report here: .md or .json."),
]


def _options(options: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _print_schema(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(slm_export.calibration_schema())
        ctx.exit()


@main.command()
@_options(EXPORT_OPTIONS)
@click.option(
    "--schema", is_flag=True, is_eager=True, expose_value=False, callback=_print_schema,
    help="Print what calibration and evaluation files hold, and exit.",
)  # fmt: skip
def export(**flags: Any) -> None:
    """Export MODEL for a target (the default command).

    Flags not given are read from slm-export.toml in the working directory, then from the target, then defaults.
    """
    from slm_export.commands.export import run

    sys.exit(run({name.replace("_", "-"): value for name, value in flags.items()}))


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--format", "formats", type=FORMAT, multiple=True, help="Run only these artifacts.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit file.")
def verify(bundle: Path, formats: tuple[str, ...], as_json: bool, junit: Path | None) -> None:
    """Check a bundle's hashes, verdicts, tokenizer and golden vectors.

    Needs numpy and the artifacts' runtimes, not torch (ExecuTorch: torch or a C++ compiler). BUNDLE may also be a
    directory of bundles.
    """
    from slm_export.commands.verify import run

    sys.exit(run(bundle, formats=formats, as_json=as_json, junit=junit))


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--pair", help="The second text of a pair, or a question's context.")
@click.option("--format", type=FORMAT, help="Of the artifact to run.  [default: the bundle's first; of a device all]")
@click.option("--most", type=click.IntRange(min=1), default=256, show_default=True, help="Tokens to write.")
@click.option("--raw", is_flag=True, help="Give a language model TEXT itself, not as a turn of its chat template.")
@click.option("--json", "as_json", is_flag=True, help="Print answer and speeds, or what a device gave, as JSON.")
@click.option("--executor", type=click.Choice(list(EXECUTORS)), default="host", show_default=True, help="Where to run.")
@click.option("--serial", envvar="ANDROID_SERIAL", help="Of the device, where adb sees several.")
@click.option("--apk", type=click.Path(path_type=Path), help="Install this demo app on the device first.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=300, show_default=True, help="Seconds the device may test."
)
@click.option("--report", type=click.Path(path_type=Path), help="Keep the device's report, as it wrote it.")
@click.option("--adb", envvar="ADB", help="The adb to use.  [default: $ADB, or the one on the path]")
@click.pass_context
def run(ctx: click.Context, /, executor: str, bundle: Path, format: str | None, as_json: bool, **options: Any) -> None:
    """Ask a bundle: its answer to TEXT, as its artifact gives it in its runtime on this computer, one thread.

    A model that writes streams its text, greedily. Speeds are wall time here, not on the device. Needs the export
    extra.

    With --executor adb there is no TEXT: the bundle is pushed to a connected Android device, the demo app runs its
    golden vectors there, and what it measured is judged here: exit code 5 where an artifact answers otherwise than
    recorded, 7 where the report does not prove that the bundle ran.
    """
    from slm_export.commands import executors

    sys.exit(executors.run(executor, executors.fitting(ctx, executor), bundle, format=format, as_json=as_json))


@main.command()
@click.argument("bundles", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--name", required=True, help="Of the bundle that is made.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("dist"), show_default=True)
def combine(bundles: tuple[Path, ...], name: str, output: Path) -> None:
    """Put BUNDLES of one target behind one manifest, OUTPUT/<name>-<target>: say a classifier, a tagger, a generator.

    Each keeps its own manifest, in a folder of its name; `verify` checks them all.
    """
    from slm_export.commands.combine import run

    sys.exit(run(bundles, name=name, out=output))


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--as", "kind", type=click.Choice(list(PACKS)), required=True, help="What to make of it.")
@click.option("--format", "formats", type=FORMAT, multiple=True, help="Put only these artifacts in.")
@click.option("--group", default="dev.slmexport.models", show_default=True, help="Of the Android library.")
@click.option("--version", default="1.0.0", show_default=True, help="Of the Android library.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("dist"), show_default=True)
def pack(bundle: Path, kind: str, formats: tuple[str, ...], group: str, version: str, output: Path) -> None:
    """Make BUNDLE into what an app's build takes, OUTPUT/<name>-<target>-<kind>, without exporting again.

    \b
    android          an AAR in a local Maven repository, with constants for the app's code
    play-asset-pack  a Gradle module that Google Play delivers beside the app, for large models
    """
    from slm_export.commands.pack import run

    sys.exit(run(bundle, kind, out=output, formats=formats, group=group, version=version))


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, every tensor included.")
@click.option("--top", default=12, show_default=True, help="How many of the largest tensors to list.")
def inspect(file: Path, as_json: bool, top: int) -> None:
    """Tell what a .pte, .tflite, .litertlm or .onnx file holds: scheme, inputs, outputs, operators, size by tensor.

    The scheme is read back from the file, whoever made it.
    """
    from slm_export.commands.inspect import run

    sys.exit(run(file, as_json=as_json, top=top))


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True)
def targets(name: str | None, as_json: bool) -> None:
    """List targets, or show one as it is resolved. NAME may be the path of your own .toml."""
    from slm_export.commands.targets import run

    sys.exit(run(name, as_json=as_json))


@main.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Tell which backends are usable here, and the exact line that installs what is missing."""
    from slm_export.commands.doctor import run

    sys.exit(run(as_json=as_json))


def entry() -> None:
    """What the installed `slm-export` runs: errors become messages and exit codes."""
    try:
        main(standalone_mode=False)
    except SlmExportError as err:
        from slm_export.commands import tell

        sys.exit(tell(err))
    except click.ClickException as err:
        err.show()
        sys.exit(err.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
