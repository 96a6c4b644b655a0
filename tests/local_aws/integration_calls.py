"""The integrations that the state machines use, and the API call behind each. Both stand-ins for AWS share this.

A resource without ``aws-sdk`` is an optimised integration, whose parameters may differ from those of the API.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore import xform_name

Json = dict[str, Any]


@dataclass(frozen=True)
class IntegrationCall:
    """The API call behind an integration.

    Parameters
    ----------
    service, operation
        The call, by botocore's names.
    errors
        The prefix of its errors in Step Functions.
    parameters
        Turns the arguments of the state into the parameters of the call.
    """

    service: str
    operation: str
    errors: str
    parameters: Callable[[Json], Json] = lambda given: given

    @property
    def method(self) -> str:
        """The name of the method of a boto3 client."""
        return str(xform_name(self.operation))


CALLS = {
    "elasticmapreduce:createCluster": IntegrationCall("emr", "RunJobFlow", "EMR"),
    "elasticmapreduce:addStep": IntegrationCall(
        *("emr", "AddJobFlowSteps", "EMR"),
        lambda given: {"JobFlowId": given["ClusterId"], "Steps": [given["Step"]]},
    ),
    "elasticmapreduce:terminateCluster": IntegrationCall(
        *("emr", "TerminateJobFlows", "EMR"), lambda given: {"JobFlowIds": [given["ClusterId"]]}
    ),
    "sns:publish": IntegrationCall("sns", "Publish", "SNS"),
    "lambda:invoke": IntegrationCall(
        *("lambda", "Invoke", "Lambda"), lambda given: {**given, "Payload": json.dumps(given.get("Payload", {}))}
    ),
    "aws-sdk:s3:listObjectsV2": IntegrationCall("s3", "ListObjectsV2", "S3"),
    "aws-sdk:s3:getObject": IntegrationCall("s3", "GetObject", "S3"),
    "aws-sdk:s3:putObject": IntegrationCall(
        *("s3", "PutObject", "S3"), lambda given: {**given, "Body": json.dumps(given["Body"])}
    ),
    "aws-sdk:emr:describeCluster": IntegrationCall("emr", "DescribeCluster", "Emr"),
    "aws-sdk:emr:describeStep": IntegrationCall("emr", "DescribeStep", "Emr"),
}


def integration(resource: str) -> str:
    """Return the key of `CALLS` for the ``Resource`` of a state."""
    return resource.rpartition(":states:::")[2]
