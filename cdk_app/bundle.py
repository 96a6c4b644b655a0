"""The job as files: its code, its model, its Python environment. Built on this machine, cached by content."""

from dataclasses import dataclass
from pathlib import Path

from aws_cdk import aws_s3_assets as assets
from constructs import Construct


@dataclass(frozen=True)
class Bundle:
    """Where the files are: the entry script, the package, the environment (both zipped), the compiled model."""

    main: Path
    code: Path
    environment: Path
    model: Path


class Job(Construct):
    """The bundle in the bootstrap bucket, as `s3://` addresses."""

    def __init__(self, scope: Construct, construct_id: str, bundle: Bundle) -> None:
        super().__init__(scope, construct_id)
        files = {name: assets.Asset(self, name.capitalize(), path=str(path)) for name, path in vars(bundle).items()}
        self.main = files["main"].s3_object_url
        self.code = files["code"].s3_object_url
        self.environment = files["environment"].s3_object_url
        self.model = files["model"].s3_object_url
        self.object_arns = [file.bucket.arn_for_objects(file.s3_object_key) for file in files.values()]
