"""Starts a local AWS with the stack deployed and photos in its bucket, and prints what to try."""

import shlex
import signal
import sys
from pathlib import Path

from spark_job import demo
from tests.cloud.deployed import Deployed
from tests.local_aws import cdk, emulator

_INSTRUCTIONS = """
A local AWS runs on this machine, with the stack fruits-dev and photos in the data bucket. In another terminal:

  . {variables}

  # with the AWS command line
  aws stepfunctions start-execution --state-machine-arn {machine} --name try-1 --input '{{}}'
  aws stepfunctions describe-execution --execution-arn {execution}
  aws emr list-clusters --active
  aws s3 sync s3://{results}/ results/

  # without it
  {python} -c 'import boto3; boto3.client("stepfunctions").start_execution(
      stateMachineArn="{machine}", name="try-1", input="{{}}")'
  {python} -c 'import boto3; print(boto3.client("stepfunctions").describe_execution(
      executionArn="{execution}")["status"])'
  {python} -c 'import boto3; boto3.client("s3").download_file("{results}", "runs/try-1/report.html", "report.html")'

  # the commands of the job; the endpoint without TLS, because obstore refuses a certificate that is its own authority
  export AWS_ENDPOINT_URL={nodes_url}
  {python} -m spark_job watch --output s3://{results} --run-id try-1
  {python} -m spark_job similar {photo} --run s3://{results}
  {python} -m spark_job sql runs_compared --run s3://{results}

Copy your own photos to s3://{data}/photos/LABEL/. Ctrl-C here stops the local AWS and deletes everything.
"""


def main() -> int:
    """Start the local AWS, deploy, print the instructions and wait."""
    signal.signal(signal.SIGTERM, _leave)
    try:
        with emulator.running() as aws:
            print("Deploying to a local AWS: this takes half a minute, longer the first time.", flush=True)
            cdk.bootstrap(aws)
            cdk.deploy(aws, weights="imagenet,random")
            dev = Deployed.find(aws, "fruits-dev")
            photos = aws.folder / "photos"
            demo.draw(photos, photos_per_label=4)
            dev.put_photos(photos)
            variables = aws.folder / "variables.sh"
            lines = [f"export {name}={shlex.quote(value)}\n" for name, value in aws.variables.items()]
            variables.write_text("".join(lines))
            python = Path(sys.executable)
            print(
                _INSTRUCTIONS.format(
                    variables=variables,
                    machine=dev.machine,
                    execution=f"{dev.machine.replace('stateMachine', 'execution')}:try-1",
                    data=dev.data,
                    results=dev.results,
                    nodes_url=aws.nodes_url,
                    photo=next(photos.rglob("*.jpg")),
                    python=python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python,
                ),
                flush=True,
            )
            signal.pause()
    except cdk.CdkError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


def _leave(*_: object) -> None:
    """Exit in order. Ignore further signals, which would interrupt the cleaning up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
