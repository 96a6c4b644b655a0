"""Glue's tables, Athena's workgroup and saved queries, and what readers may do."""

from typing import Any

import pytest

from cdk_app.stage_settings import StageSettings
from spark_job import queries
from spark_job.runs import RunFolder
from spark_job.sql import TABLES
from spark_job.storage import open_store
from tests.infra.conftest import Synthesise
from tests.infra.template import ACCOUNT, REGION, Synthesised
from tests.infra.test_stack import DATA, RESULTS, decide

WORKGROUP = f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup"
GLUE = f"arn:aws:glue:{REGION}:{ACCOUNT}"


@pytest.fixture(scope="module")
def tables(dev: Synthesised) -> dict[str, dict[str, Any]]:
    """What Glue gets for each table, by the name of the table."""
    found = [it["TableInput"] for it in dev.of("AWS::Glue::Table").values() if it["DatabaseName"] == "fruits_dev"]
    return {table["Name"]: table for table in found}


@pytest.mark.parametrize("name", TABLES)
def test_athena_finds_the_files_of_a_run_by_its_id(tables: dict[str, dict[str, Any]], name: str) -> None:
    table = tables[name]
    assert table["PartitionKeys"] == [{"Name": "run_id", "Type": "string"}]
    assert table["Parameters"]["projection.enabled"] == "true"
    assert table["Parameters"]["projection.run_id.type"] == "injected"
    folder = RunFolder(open_store("s3://StorageResults"), "run-1").table(name)
    place = table["Parameters"]["storage.location.template"].replace("${run_id}", "run-1")
    assert place == f"{folder.store}/{folder.folder}/"
    assert [column["Name"] for column in table["StorageDescriptor"]["Columns"]] == TABLES[name].names


def test_the_table_of_the_runs_reads_the_summaries(tables: dict[str, dict[str, Any]]) -> None:
    storage = tables["runs"]["StorageDescriptor"]
    summary = RunFolder(open_store("s3://StorageResults"), "run-1").summary_path
    assert f"s3://StorageResults/{summary}" == f"{storage['Location']}run-1.json"
    types = {column["Name"]: column["Type"] for column in storage["Columns"]}
    assert types["counts"] == "struct<found:bigint,computed:bigint,reused:bigint,rejected:bigint>"
    assert types["seconds"] == "map<string,double>"
    assert types["cluster"] == "struct<minutes:double,nodes:bigint,usd:double,note:string>"
    assert tables["runs"]["PartitionKeys"] == []


def test_the_workgroup_keeps_answers_in_an_encrypted_folder_that_expires_and_limits_what_a_query_reads(
    dev: Synthesised,
) -> None:
    workgroup = dev.one("AWS::Athena::WorkGroup", "Workgroup")
    assert workgroup["RecursiveDeleteOption"] is True
    configuration = workgroup["WorkGroupConfiguration"]
    assert configuration["EnforceWorkGroupConfiguration"] is True
    assert configuration["BytesScannedCutoffPerQuery"] == 100 * 10**9
    assert configuration["ResultConfiguration"]["OutputLocation"] == "s3://StorageResults/queries/"
    assert configuration["ResultConfiguration"]["EncryptionConfiguration"] == {"EncryptionOption": "SSE_S3"}


def test_every_question_is_a_saved_query(dev: Synthesised) -> None:
    saved = {it["Name"]: it for it in dev.of("AWS::Athena::NamedQuery").values()}
    assert {name: it["QueryString"] for name, it in saved.items()} == {
        name: query.athena for name, query in queries.load().items()
    }
    assert {(it["Database"], it["WorkGroup"]) for it in saved.values()} == {("fruits_dev", "fruits-dev")}
    nearest = saved["nearest_photos"]
    assert nearest["Description"].endswith(" Parameters: run_id, photo, run_id.")
    assert nearest["QueryString"].count("?") == 3


def test_two_stages_share_no_name(dev: Synthesised, synthesise: Synthesise) -> None:
    def names(stack: Synthesised) -> set[str]:
        database = {it["DatabaseInput"]["Name"] for it in stack.of("AWS::Glue::Database").values()}
        workgroup = {it["Name"] for it in stack.of("AWS::Athena::WorkGroup").values()}
        return database | workgroup | {it["ManagedPolicyName"] for it in stack.of("AWS::IAM::ManagedPolicy").values()}

    assert names(dev) == {"fruits_dev", "fruits-dev", "fruits-dev-readers"}
    assert not names(dev) & names(synthesise(StageSettings.of("prod")))


@pytest.mark.parametrize(
    ("allowed", "action", "resource"),
    [
        (True, "athena:StartQueryExecution", f"{WORKGROUP}/fruits-dev"),
        (True, "glue:GetTable", f"{GLUE}:table/fruits_dev/features"),
        (True, "s3:GetObject", f"{RESULTS}/runs/run-1/features/part-0.parquet"),
        (True, "s3:GetObject", f"{RESULTS}/summaries/run-1.json"),
        (True, "s3:PutObject", f"{RESULTS}/queries/1.csv"),
        (True, "s3:GetObject", f"{RESULTS}/queries/1.csv"),
        (True, "s3:ListBucket", RESULTS),
        (False, "athena:StartQueryExecution", f"{WORKGROUP}/primary"),
        (False, "athena:StartQueryExecution", f"{WORKGROUP}/fruits-prod"),
        (False, "glue:GetTable", f"{GLUE}:table/other/features"),
        (False, "glue:DeleteTable", f"{GLUE}:table/fruits_dev/features"),
        (False, "s3:PutObject", f"{RESULTS}/runs/run-1/manifest.json"),
        (False, "s3:DeleteObject", f"{RESULTS}/runs/run-1/manifest.json"),
        (False, "s3:GetObject", f"{DATA}/photos/1.jpg"),
        (False, "s3:ListBucket", DATA),
    ],
)
def test_readers_may_ask_and_nothing_else(dev: Synthesised, action: str, resource: str, *, allowed: bool) -> None:
    statements = dev.one("AWS::IAM::ManagedPolicy", "Readers")["PolicyDocument"]["Statement"]
    assert decide(statements, "reader", action, resource, REGION) is allowed
    assert not decide(statements, "reader", action, resource, "us-east-1")
