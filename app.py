"""The app that the ``cdk`` command runs: it reads the settings, builds the job and synthesises the stack."""

import sys
from pathlib import Path

import cdk_app  # must be first: it sets the Node that CDK runs on  # noqa: F401 # isort: skip
import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from cdk_app.bundle import ROOT, Bundle, BundleError, build
from cdk_app.stack import FruitsStack
from cdk_app.stage_settings import SettingsError, StageSettings


def main() -> int:
    """Synthesise the stack. Return 2 and print one sentence if the user made a mistake."""
    app = cdk.App()
    try:
        settings = StageSettings.from_context(app.node.get_all_context())
        bundle = build(settings, ROOT / ".cache" / "bundle") if _needs_bundle(app) else _placeholder()
    except (SettingsError, BundleError) as error:
        print(f"fruits: {error}", file=sys.stderr)
        return 2
    FruitsStack(app, settings.name, settings, bundle)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
    return 0


def _needs_bundle(app: cdk.App) -> bool:
    """Return whether the command reads the files of the job. `cdk destroy` and `cdk list` do not."""
    return bool(app.node.try_get_context("aws:cdk:bundling-stacks") != [])


def _placeholder() -> Bundle:
    any_file = Path(__file__)
    return Bundle(any_file, any_file, any_file, any_file)


if __name__ == "__main__":
    sys.exit(main())
