import time
from typing import Any

import pytest

from tests.infra.simulator import Aws, AwsError, cluster, execute
from tests.infra.template import Synthesised

STOPPED = {"run": "stopped", "alarm": False}
HOURLY = {"run": "", "alarm": True}


@pytest.fixture(scope="module")
def definition(dev: Synthesised) -> dict[str, Any]:
    return dev.definition("Janitor")


def names(aws: Aws) -> list[str]:
    return [one["Name"] for one in aws.clusters]


def some_clusters() -> list[dict[str, Any]]:
    return [
        cluster("j-1", "somebody-elses", age=100),
        cluster("j-2", "fruits-dev-running", age=6),
        cluster("j-3", "fruits-dev-stopped", age=1),
        cluster("j-4", "fruits-devil-stopped", age=100),
    ]


def test_only_the_cluster_of_a_stopped_run_is_ended(definition: dict[str, Any]) -> None:
    aws = Aws(clusters=some_clusters())
    assert execute(definition, aws, STOPPED).status == "SUCCEEDED"
    assert names(aws) == ["somebody-elses", "fruits-dev-running", "fruits-devil-stopped"]


def test_it_looks_three_times_for_a_run_without_a_cluster(definition: dict[str, Any]) -> None:
    aws = Aws()
    execution = execute(definition, aws, STOPPED)
    assert (execution.status, execution.states.count("List clusters")) == ("SUCCEEDED", 3)


def test_a_cluster_that_is_listed_late_is_ended_too(definition: dict[str, Any]) -> None:
    aws = Aws()
    listed = aws._listClusters

    def late(given: dict[str, Any]) -> dict[str, Any]:
        found = listed(given)
        aws.clusters = [cluster("j-3", "fruits-dev-stopped", age=0)]
        return found

    aws._listClusters = late  # type: ignore[method-assign]  # a patch
    assert execute(definition, aws, STOPPED).status == "SUCCEEDED"
    assert [given["ClusterId"] for given in aws.named("elasticmapreduce:terminateCluster")] == ["j-3"]


@pytest.mark.parametrize("as_number", [False, True])
def test_the_creation_time_may_be_a_text_or_a_number(definition: dict[str, Any], *, as_number: bool) -> None:
    clusters = [cluster("j-1", "fruits-dev-old", age=8), cluster("j-2", "fruits-dev-young", age=1)]
    for one, age in zip(clusters, (8, 1), strict=True):
        if as_number:
            one["Status"]["Timeline"]["CreationDateTime"] = time.time() - age * 3600
    aws = Aws(clusters=clusters)
    assert execute(definition, aws, HOURLY).status == "FAILED"
    assert names(aws) == ["fruits-dev-young"]


def test_the_empty_input_ends_old_clusters(definition: dict[str, Any]) -> None:
    aws = Aws(clusters=[cluster("j-1", "fruits-dev-old", age=8), cluster("j-2", "fruits-dev-young", age=1)])
    assert execute(definition, aws, {}).error == "ClusterOutlivedItsRun"
    assert names(aws) == ["fruits-dev-young"]


def test_an_hour_without_old_clusters_takes_four_states(definition: dict[str, Any]) -> None:
    # It runs 720 times per month, which stays below the 4,000 free transitions.
    aws = Aws(clusters=[cluster("j-2", "fruits-dev-running", age=6)])
    execution = execute(definition, aws, HOURLY)
    assert (execution.status, len(execution.states)) == ("SUCCEEDED", 4)
    assert names(aws) == ["fruits-dev-running"]


def test_a_cluster_older_than_the_longest_run_is_ended_and_raises_the_alarm(definition: dict[str, Any]) -> None:
    aws = Aws(
        clusters=[*some_clusters(), cluster("j-5", "fruits-dev-hung", age=7), cluster("j-6", "fruits-dev-b", age=9)]
    )
    execution = execute(definition, aws, HOURLY)
    assert (execution.status, execution.error) == ("FAILED", "ClusterOutlivedItsRun")
    assert execution.cause == "Terminated j-5, j-6, which no run used any more."
    assert names(aws) == [one["Name"] for one in some_clusters()]


def test_a_janitor_that_cannot_end_a_cluster_fails(definition: dict[str, Any]) -> None:
    denied = AwsError("ElasticMapReduce.AccessDeniedException", "No.")
    aws = Aws(clusters=some_clusters(), fails={"elasticmapreduce:terminateCluster": denied})
    assert execute(definition, aws, STOPPED).status == "FAILED"


def test_it_starts_after_every_bad_end_and_every_hour(dev: Synthesised) -> None:
    ended = dev.one("AWS::Events::Rule", "RunEndedBadly")
    assert ended["EventPattern"]["source"] == ["aws.states"]
    assert ended["EventPattern"]["detail"] == {
        "status": ["ABORTED", "TIMED_OUT", "FAILED"],
        "stateMachineArn": [
            dev.resolve({"Ref": next(n for n in dev.template["Resources"] if n.startswith("WorkflowMachine"))})
        ],
    }
    (target,) = ended["Targets"]
    assert target["InputTransformer"]["InputPathsMap"] == {"detail-name": "$.detail.name"}
    assert target["InputTransformer"]["InputTemplate"] == '{"run":<detail-name>,"alarm":false}'
    hourly = dev.one("AWS::Events::Rule", "EveryHour")
    assert hourly["ScheduleExpression"] == "rate(1 hour)"
    assert hourly["Targets"][0]["Input"] == '{"run":"","alarm":true}'
