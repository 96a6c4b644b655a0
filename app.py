"""What the ``cdk`` command runs: settings, the job's bundle, the stack, and its checks."""

import sys
from pathlib import Path

import cdk_app  # first: it chooses the Node that CDK runs on  # noqa: F401 # isort: skip
import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from cdk_app.bundle import ROOT, Bundle, BundleError, build
from cdk_app.settings import Settings, SettingsError
from cdk_app.stack import FruitsStack


def main() -> int:
    """Synthesise; 2 for a mistake of the user's, which is one sentence."""
    app = cdk.App()
    try:
        settings = Settings.from_context(app.node.get_all_context())
        bundle = build(settings, ROOT / ".cache" / "bundle") if _wants_files(app) else _no_files()
    except (SettingsError, BundleError) as error:
        print(f"fruits: {error}", file=sys.stderr)
        return 2
    FruitsStack(app, settings.name, settings, bundle)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
    return 0


def _wants_files(app: cdk.App) -> bool:
    """Return whether the command looks into the bundle: `cdk destroy` and `cdk list` do not."""
    return bool(app.node.try_get_context("aws:cdk:bundling-stacks") != [])


def _no_files() -> Bundle:
    any_file = Path(__file__)
    return Bundle(any_file, any_file, any_file, any_file)


if __name__ == "__main__":
    sys.exit(main())
