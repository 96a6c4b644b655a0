"""What the nodes of a cluster share: their role, the metadata service, and the configuration of the cluster."""

import os
import shutil
from pathlib import Path
from typing import Any

from tests.local_aws.plugin import roles
from tests.local_aws.plugin.metadata import Metadata

Json = dict[str, Any]


class Node:
    """The nodes of one cluster.

    Attributes
    ----------
    files
        The configuration that the state machine sent, by file, such as ``spark-defaults``.
    markets
        The market of each core and task node: ``ON_DEMAND`` or ``SPOT``.
    log_uri
        Where the logs of the cluster go.
    folder
        A folder for everything that the nodes write.
    """

    def __init__(self, cluster: Json, given: Json, role: str) -> None:
        self._role, self._source = role, cluster["ClusterArn"]
        self.log_uri = f"{given['LogUri'].rstrip('/')}/{cluster['Id']}/"
        self.files = {one["Classification"]: one["Properties"] for one in given.get("Configurations", [])}
        fleets = [fleet for fleet in given["Instances"]["InstanceFleets"] if fleet["InstanceFleetType"] != "MASTER"]
        counts = (("ON_DEMAND", "TargetOnDemandCapacity"), ("SPOT", "TargetSpotCapacity"))
        self.markets = [market for market, key in counts for fleet in fleets for _ in range(fleet.get(key, 0))]
        self.metadata = Metadata(role, self.credentials)
        self.folder = Path(os.environ["LOCAL_AWS_FOLDER"], "nodes", cluster["Id"])
        self.folder.mkdir(parents=True)

    def credentials(self) -> dict[str, str]:
        """Return the credentials of a session of the instance role."""
        return roles.assume(self._role, "ec2", self._source)

    def client(self) -> Any:
        """Return an S3 client with these credentials."""
        return roles.client("s3", self.credentials())

    def variables(self) -> dict[str, str]:
        """Return the environment variables with which software finds the services of AWS on this machine.

        On AWS, it needs none of them. They hold addresses only: no credentials, and no region.
        """
        return {
            "AWS_ENDPOINT_URL": os.environ["LOCAL_AWS_NODES_URL"],
            "AWS_METADATA_ENDPOINT": self.metadata.url,  # obstore
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata.url,  # boto3
        }

    def close(self) -> None:
        """Stop the metadata service and delete the files."""
        self.metadata.close()
        shutil.rmtree(self.folder, ignore_errors=True)
