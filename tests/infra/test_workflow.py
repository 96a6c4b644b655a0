import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from cdk_app import prices, workflow
from cdk_app.prices import Nodes
from cdk_app.stage_settings import StageSettings
from spark_job.progress import StageProgress
from tests.infra.conftest import Synthesise
from tests.infra.simulator import Aws, AwsError, Execution, execute
from tests.infra.template import Synthesised

FAILED = AwsError("States.TaskFailed", "It broke.")
THROTTLED = AwsError(
    "EMR.AmazonElasticMapReduceException",
    "Rate exceeded (Service: AmazonElasticMapReduce; Status Code: 400; Error Code: ThrottlingException; Request ID: 1)",
)


@pytest.fixture(scope="module")
def definition(dev: Synthesised) -> dict[str, Any]:
    return dev.definition()


def publish(aws: Aws, run: str, started: float | None = None, weights: str = "imagenet") -> None:
    """Write what a successful job writes."""
    summary = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(started or aws.clock.time())),
        "counts": {"found": 4, "computed": 2, "reused": 1, "rejected": 1},
        "pca": {"components": 3, "variance_kept": 0.96},
        "images_per_second": 12.5,
        "findings": {"duplicate": 2},
        "model": {"weights": weights},
    }
    aws.results[f"summaries/{run}.json"] = json.dumps(summary)


def write_failure(aws: Aws, run: str) -> None:
    """Write what a failed job writes."""
    aws.results[f"runs/{run}/_failed.json"] = json.dumps({"reason": "7 % of the photos were rejected."})


def run(definition: dict[str, Any], aws: Aws, given: Any = None) -> Execution:
    execution = execute(definition, aws, given)
    if aws.named("elasticmapreduce:createCluster") and "elasticmapreduce:createCluster" not in aws.fails:
        assert aws.named("elasticmapreduce:terminateCluster"), "nothing ended the cluster"
    return execution


def test_an_empty_input_runs_the_job_and_yields_its_summary(definition: dict[str, Any]) -> None:
    aws = Aws(job=publish)
    execution = run(definition, aws)
    assert execution.status == "SUCCEEDED"
    folder = "s3://StorageResults/runs/run-1"
    cluster = execution.output.pop("cluster")
    assert execution.output == {
        "run": "run-1",
        "images": {"found": 4, "computed": 2, "reused": 1, "rejected": 1},
        "components": 3,
        "variance_kept": 0.96,
        "images_per_second": 12.5,
        "findings": {"duplicate": 2},
        "report": f"{folder}/report.html",
        "report_in_console": "https://eu-west-3.console.aws.amazon.com/s3/object/StorageResults?region=eu-west-3"
        "&prefix=runs/run-1/report.html",
        "features": f"{folder}/features/",
        "pca": f"{folder}/pca/",
        "manifest": f"{folder}/manifest.json",
        "query_editor": "https://eu-west-3.console.aws.amazon.com/athena/home?region=eu-west-3#/query-editor",
        "workgroup": "fruits-dev",
        "sql": "SELECT kind, path, label, suggested_label, score FROM fruits_dev.findings WHERE run_id = 'run-1'",
        "warnings": [],
    }
    nodes = Nodes("eu-west-3", ("m7g.xlarge", "m6g.xlarge"), 3)
    assert cluster == {"minutes": cluster["minutes"], "nodes": 3, "usd": 0.01, "note": nodes.note}
    assert cluster["minutes"] == 0.3  # a whole minute is charged
    assert [name for name, _ in aws.calls] == [
        "s3:listObjectsV2",
        "elasticmapreduce:createCluster",
        "elasticmapreduce:addStep",
        "emr:describeStep",
        "elasticmapreduce:terminateCluster",
        "emr:describeCluster",
        "s3:getObject",
        "s3:putObject",
    ]
    summary = json.loads(aws.results["summaries/run-1.json"])
    assert (summary["counts"], summary["cluster"]) == (execution.output["images"], cluster)
    assert aws.clusters == []


def test_a_run_succeeds_even_if_its_cost_cannot_be_added_to_its_summary(definition: dict[str, Any]) -> None:
    execution = run(definition, Aws(job=publish, fails={"s3:putObject": AwsError("S3.AccessDeniedException", "")}))
    assert (execution.status, execution.output["warnings"]) == ("SUCCEEDED", [])


def test_the_step_is_the_jobs_command(definition: dict[str, Any]) -> None:
    aws = Aws(job=publish, photos=["a.png"])
    run(definition, aws, {"input_prefix": "", "components": 200, "max_rejected": 0.1, "recompute": True})
    (given,) = aws.named("elasticmapreduce:addStep")
    words = given["Step"]["HadoopJarStep"]["Args"]
    assert words[:3] == ["spark-submit", "--deploy-mode", "cluster"]
    assert words[words.index("run") :] == [
        *("run", "--input", "s3://StorageData/", "--output", "s3://StorageResults"),
        *("--weights", words[words.index("--weights") + 1], "--engine", "litert"),
        *("--components", "200", "--max-rejected", "0.1", "--run-id", "run-1"),
        "--recompute",
    ]
    archives = [archive.split("#") for archive in words[words.index("--archives") + 1].split(",")]
    assert [(Path(uri).suffix, name) for uri, name in archives] == [(".zip", "environment"), (".zip", "code")]
    assert given["Step"]["ActionOnFailure"] == "TERMINATE_CLUSTER"


def test_a_wrong_input_starts_nothing(definition: dict[str, Any]) -> None:
    aws = Aws()
    execution = run(definition, aws, {"component": 3})
    assert (execution.status, execution.error) == ("FAILED", "InputIsWrong")
    assert execution.cause.startswith('Unknown key "component".')
    assert aws.calls == []


@pytest.mark.parametrize("photos", [[], ["photos/notes.txt", "photos/apple/"], ["other/1.jpg"], ["photos/.a/1.jpg"]])
def test_without_images_no_cluster_starts(definition: dict[str, Any], photos: list[str]) -> None:
    aws = Aws(photos=photos)
    execution = run(definition, aws)
    assert (execution.status, execution.error) == ("FAILED", "NoPhotos")
    assert execution.cause.startswith("There is no photo under s3://StorageData/photos/;")
    assert not aws.named("elasticmapreduce:createCluster")
    assert aws.named("sns:publish")


@pytest.mark.parametrize("name", ["1.JPG", "1.jpeg", "1.Png", "1.webp", "fruits.ZIP"])
def test_an_image_is_found_on_a_later_page_and_in_any_case(definition: dict[str, Any], name: str) -> None:
    aws = Aws(job=publish, photos=[f"photos/{number:04}.txt" for number in range(250)] + [f"photos/z/{name}"])
    assert run(definition, aws).status == "SUCCEEDED"
    assert len(aws.named("s3:listObjectsV2")) == 3


def test_an_empty_page_is_not_the_last_one(definition: dict[str, Any]) -> None:
    aws = Aws(job=publish, photos=["photos/1.jpg"])
    pages = iter([{"IsTruncated": True, "KeyCount": 0}])
    listed = aws._listObjectsV2
    aws._listObjectsV2 = lambda given: next(pages, None) or listed(given)  # type: ignore[method-assign]  # a patch
    assert run(definition, aws).status == "SUCCEEDED"
    assert [given["StartAfter"] for given in aws.named("s3:listObjectsV2")] == ["photos/", "photos/"]


def test_after_the_last_look_the_job_decides(definition: dict[str, Any]) -> None:
    short = json.loads(json.dumps(definition).replace(f"$looks < {workflow._MAX_LOOKS}", "$looks < 2"))
    aws = Aws(job=publish, photos=[f"photos/{number:04}.txt" for number in range(1000)])
    run(short, aws)
    assert (len(aws.named("s3:listObjectsV2")), len(aws.named("elasticmapreduce:createCluster"))) == (2, 1)


@pytest.mark.parametrize(
    ("error", "requests"), [(AwsError("EMR.AmazonElasticMapReduceException", "No quota."), 1), (THROTTLED, 6)]
)
def test_a_request_for_a_cluster_is_repeated_only_if_it_was_throttled(
    definition: dict[str, Any], error: AwsError, requests: int
) -> None:
    aws = Aws(fails={"elasticmapreduce:createCluster": error})
    execution = run(definition, aws)
    assert (execution.error, execution.cause) == ("ClusterNotCreated", error.cause)
    assert len(aws.named("elasticmapreduce:createCluster")) == requests
    assert not aws.named("elasticmapreduce:terminateCluster")


@pytest.mark.parametrize(
    "call", [f"elasticmapreduce:{name}Cluster" for name in ("create", "terminate")] + ["emr:describeStep"]
)
def test_a_request_that_is_throttled_once_is_repeated(definition: dict[str, Any], call: str) -> None:
    execution = run(definition, Aws(job=publish, fails_once={call: THROTTLED}))
    assert (execution.status, execution.output["warnings"]) == ("SUCCEEDED", [])


def test_a_run_survives_eight_minutes_without_an_answer(definition: dict[str, Any]) -> None:
    aws = Aws(job=publish)
    described, since = aws._describeStep, aws.clock.time()

    def late(given: dict[str, Any]) -> dict[str, Any]:
        if aws.clock.time() - since < 8 * 60:
            raise FAILED
        return described(given)

    aws._describeStep = late  # type: ignore[method-assign]  # a patch
    assert run(definition, aws).status == "SUCCEEDED"


def history(execution: Execution, definition: dict[str, Any]) -> int:
    """Return the number of events: a task has five (entered, scheduled, started, succeeded, exited), others two."""
    tasks = [name for name in execution.states if definition["States"][name]["Type"] == "Task"]
    return 2 * len(execution.states) + 3 * len(tasks)


@pytest.mark.parametrize(("hours", "most_events"), [(0.4, 2000), (24, 9000), (72, 17_000)])
def test_a_long_run_is_watched_within_the_history_of_an_execution(
    synthesise: Synthesise, hours: float, most_events: int
) -> None:
    """Step Functions ends an execution after 25,000 events."""
    definition = synthesise(StageSettings.of(longest_run_hours=72)).definition()
    aws = Aws(job=publish, start_seconds=420, job_seconds=hours * 3600 - 430)
    execution = run(definition, aws)
    assert execution.status == "SUCCEEDED"
    assert history(execution, definition) < most_events
    idle = execution.output["cluster"]["minutes"] * 60 - hours * 3600
    assert idle <= min(300, max(15, hours * 36)) + 1


def test_the_console_shows_how_far_the_job_is(definition: dict[str, Any]) -> None:
    features = StageProgress("features", 250, 1000, 60.0, {"model": 2.0}).to_json("2026-01-01T00:00:00+00:00")
    seen = []

    def job(aws: Aws, name: str) -> None:
        publish(aws, name)
        aws.results[f"runs/{name}/_progress.json"] = features

    watched = json.loads(json.dumps(definition))
    watched["States"]["Wait for job"]["Assign"] = {"seen": "{% $append($seen, [$states.input]) %}"}
    watched["States"]["Prepare run"]["Assign"]["seen"] = []
    watched["States"]["Summarise run"]["Output"] = "{% $seen %}"
    seen = run(watched, Aws(job=job, start_seconds=20, job_seconds=25)).output
    shown = {"stage": "features", "percent": 25, "minutes_left": 3, "time": "2026-01-01T00:00:00+00:00"}
    assert seen == [{}, {}, shown]


@pytest.mark.parametrize(
    "state", ["Create cluster", "Start job", "Wait for job", "Look at job", "Is the job over?", "Read progress"]
)
def test_the_cluster_of_a_stopped_execution_has_the_name_that_ends_it(definition: dict[str, Any], state: str) -> None:
    aws = Aws(job_seconds=3600)
    assert execute(definition, aws, stop_in=state).status == "ABORTED"
    assert [one["Name"] for one in aws.clusters] == ["fruits-dev-run-1"]


def test_the_cause_of_a_failed_job_is_its_own_reason_and_the_place_of_the_log(definition: dict[str, Any]) -> None:
    aws = Aws(job=write_failure, step_state="FAILED")
    execution = run(definition, aws)
    assert execution.error == "JobFailed"
    assert execution.cause == (
        "7 % of the photos were rejected. Logs: s3://StorageLogs/emr/j-NEW/ "
        "(the driver: containers/*/*_000001/stdout.gz). The cluster: 3 nodes for 0.3 min, about 0.01 USD."
    )
    (message,) = aws.named("sns:publish")
    assert message["Message"] == f"JobFailed: {execution.cause}"
    assert message["Subject"] == "fruits-dev: run-1 failed"


SOLD_OUT = {"Code": "VALIDATION_ERROR", "Message": "The instance type is sold out."}
KILLED = "The job ended without giving a reason. Perhaps its driver was killed, or the node of the driver was lost."
LOG = "s3://StorageLogs/stderr.gz"


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"start_seconds": 600, "step_state": "CANCELLED", "cluster_ended": SOLD_OUT}, SOLD_OUT["Message"]),
        ({"start_seconds": 600, "step_state": "INTERRUPTED", "cluster_ended": SOLD_OUT}, SOLD_OUT["Message"]),
        ({"fails": {"elasticmapreduce:addStep": FAILED}, "cluster_ended": SOLD_OUT}, SOLD_OUT["Message"]),
        ({"step_state": "CANCELLED"}, "The step was cancelled before it had ended."),
        ({"step_state": "FAILED", "step_ended": {"Reason": "Unknown Error.", "LogFile": LOG}}, f"{KILLED} {LOG}"),
        ({"step_state": "FAILED"}, KILLED),
        ({"step_state": "FAILED", "step_ended": {"Reason": "No memory.", "Message": "Killed."}}, "No memory. Killed."),
    ],
)
def test_without_a_reason_of_the_job_the_cause_is_that_of_emr(
    definition: dict[str, Any], given: dict[str, Any], cause: str
) -> None:
    execution = run(definition, Aws(**given))
    assert execution.error == "JobFailed"
    assert execution.cause.startswith(f"{cause} Logs: ")


def test_a_job_that_takes_too_long_is_ended(definition: dict[str, Any]) -> None:
    aws = Aws(job_seconds=100 * 3600)
    execution = run(definition, aws)
    assert execution.error == "JobTookTooLong"
    assert execution.cause.startswith("The job took longer than 6 h and was stopped; it needs more core_nodes")
    minutes = float(re.findall(r"nodes for (\S+) min", execution.cause)[0])
    assert 6 * 60 <= minutes <= 6 * 60 + 5


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"fails": {"elasticmapreduce:terminateCluster": FAILED}}, "could not be terminated; "),
        ({"fails": {"emr:describeCluster": FAILED}}, "may not have ended; "),
        ({"looks_until_ended": 99}, "was told to terminate, but had not ended 10 minutes later; "),
    ],
)
@pytest.mark.parametrize("published", [True, False])
def test_a_cluster_that_does_not_end_is_left_to_the_clean_up_and_hides_nothing(
    definition: dict[str, Any], given: dict[str, Any], what: str, *, published: bool
) -> None:
    aws = Aws(**given, **({"job": publish} if published else {"job": write_failure, "step_state": "FAILED"}))
    execution = run(definition, aws)
    assert [given["Payload"] for given in aws.named("lambda:invoke")] == [{"run": "run-1", "alarm": True}]
    if published:
        assert execution.output["images"]["found"] == 4
        (warning,) = execution.output["warnings"]
    else:
        assert execution.cause.startswith("7 % of the photos were rejected. ")
        warning = execution.cause[execution.cause.index("The cluster j-NEW") :]
    assert warning.startswith(f"The cluster j-NEW {what}the clean-up was called.")


def test_an_execution_ends_after_its_cluster(definition: dict[str, Any]) -> None:
    aws = Aws(job=publish, looks_until_ended=3)
    execution = run(definition, aws)
    assert (execution.status, execution.output["warnings"]) == ("SUCCEEDED", [])
    assert [name for name, _ in aws.calls][-6:] == [*4 * ["emr:describeCluster"], "s3:getObject", "s3:putObject"]
    assert execution.states.count("Wait for the cluster's end") == 3


def test_a_published_run_succeeds_although_its_step_failed(definition: dict[str, Any]) -> None:
    aws = Aws(job=publish, step_state="FAILED", step_ended={"Reason": "It broke."})
    execution = run(definition, aws)
    assert execution.status == "SUCCEEDED"
    assert execution.output["warnings"] == ["The run published its results. After that, an error occurred: It broke."]


def test_the_summary_of_an_older_run_of_the_same_name_does_not_count(definition: dict[str, Any]) -> None:
    aws = Aws(step_state="FAILED")
    publish(aws, "run-1", started=time.time() - 3600)
    assert run(definition, aws).error == "JobFailed"


def test_no_summary_is_no_run(definition: dict[str, Any]) -> None:
    execution = run(definition, Aws())
    assert execution.error == "NoSummary"
    assert execution.cause.startswith("The job succeeded but wrote no summary.")


def test_a_summary_that_cannot_be_read_loses_no_result(definition: dict[str, Any]) -> None:
    execution = run(definition, Aws(job=publish, fails={"s3:getObject": AwsError("S3.AccessDeniedException", "")}))
    assert execution.status == "SUCCEEDED"
    assert execution.output["images"] is None
    assert execution.output["warnings"] == [
        "The state machine could not read the summary; the counts are in the manifest."
    ]


def test_an_unknown_price_is_null_and_says_why(synthesise: Synthesise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(prices.INSTANCES, ("eu-west-3", "m6g.xlarge"), prices.Price(None, "per hour", "not found"))
    definition = synthesise(StageSettings.of(spot_nodes=4)).definition()
    output = run(definition, Aws(job=publish)).output["cluster"]
    assert (output["nodes"], output["usd"]) == (7, None)
    assert output["note"] == "No list price of m6g.xlarge in eu-west-3 is known."
    failed = run(definition, Aws(job=write_failure, step_state="FAILED"))
    assert "The cluster: 7 nodes for" in failed.cause
    assert failed.cause.endswith(" min, price unknown.")


def test_random_weights_give_a_warning(definition: dict[str, Any]) -> None:
    execution = run(definition, Aws(job=lambda aws, name: publish(aws, name, weights="random")))
    assert execution.output["warnings"] == [
        "The weights are random: the features show that the job works, but they say nothing about fruit."
    ]


@pytest.mark.parametrize(
    "broken",
    [
        ("s3:listObjectsV2",),
        ("elasticmapreduce:addStep", "s3:getObject"),
        ("emr:describeStep", "emr:describeCluster", "s3:getObject"),
        ("elasticmapreduce:addStep", "sns:publish"),
    ],
)
def test_further_errors_do_not_hide_the_reason(definition: dict[str, Any], broken: tuple[str, ...]) -> None:
    aws = Aws(fails=dict.fromkeys(broken, FAILED))
    execution = run(definition, aws)
    assert execution.status == "FAILED"
    assert execution.cause.startswith("It broke.")
    assert aws.clusters == []


def test_every_task_has_a_time_out_below_the_state_machines(definition: dict[str, Any]) -> None:
    limits = {name: state["TimeoutSeconds"] for name, state in definition["States"].items() if state["Type"] == "Task"}
    assert definition["TimeoutSeconds"] - 6 * 3600 >= 2 * sum(limits.values())


@pytest.mark.parametrize("hours", [1, 72])
def test_the_longest_run_moves_every_time_out(synthesise: Synthesise, hours: int) -> None:
    definition = synthesise(StageSettings.of(longest_run_hours=hours)).definition()
    assert definition["States"]["Start job"]["Assign"]["deadline"].endswith(f" + {hours * 3_600_000} %}}")
    assert definition["TimeoutSeconds"] == (hours + 1) * 3600
