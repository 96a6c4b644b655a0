"""The results as tables for SQL: Glue's database, Athena's workgroup with saved queries, and a policy for readers."""

from collections.abc import Mapping
from typing import Any

import aws_cdk as cdk
import pyarrow as pa
from aws_cdk import aws_athena as athena
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from cdk_app import nag
from cdk_app.buckets import QUERY_RESULTS
from spark_job import queries, runs, sql
from spark_job.manifest import SUMMARY_SCHEMA

#: What a query may read. Athena charges for bytes read, so this limits what a mistake costs.
_MAX_BYTES = 100 * 10**9
# What a reader needs, as AWS's guide lists it ("Fine-grained access to databases and tables", "Use IAM policies to
# control workgroup access").
_READ_TABLES = [
    *("glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables"),
    *("glue:GetPartition", "glue:GetPartitions", "glue:BatchGetPartition"),
]
_ASK = [
    *("athena:StartQueryExecution", "athena:StopQueryExecution", "athena:GetQueryExecution"),
    *("athena:BatchGetQueryExecution", "athena:ListQueryExecutions", "athena:GetQueryResults"),
    *("athena:GetQueryRuntimeStatistics", "athena:GetWorkGroup", "athena:ListNamedQueries"),
    *("athena:GetNamedQuery", "athena:BatchGetNamedQuery"),
]
_SHOW_TABLES = [
    *("athena:GetDataCatalog", "athena:GetDatabase", "athena:ListDatabases"),
    *("athena:GetTableMetadata", "athena:ListTableMetadata"),
]
_OPEN_QUERY_EDITOR = ["athena:ListWorkGroups", "athena:ListDataCatalogs"]
_WRITE_ANSWERS = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
_HIVE_TYPES = {
    pa.string(): "string",
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
}
_PARQUET = {
    "input_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "output_format": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "serde_info": glue.CfnTable.SerdeInfoProperty(
        serialization_library="org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
    ),
}
_JSON = {
    "input_format": "org.apache.hadoop.mapred.TextInputFormat",
    "output_format": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
    "serde_info": glue.CfnTable.SerdeInfoProperty(serialization_library="org.apache.hive.hcatalog.data.JsonSerDe"),
}


def hive_type(kind: pa.DataType) -> str:
    """Return the type of Glue and Athena that reads an Arrow type from Parquet or JSON.

    >>> hive_type(pa.list_(pa.struct([("path", pa.string()), ("distance", pa.float32())])))
    'array<struct<path:string,distance:float>>'
    """
    if pa.types.is_list(kind):
        return f"array<{hive_type(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{hive_type(kind.key_type)},{hive_type(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{','.join(f'{field.name}:{hive_type(field.type)}' for field in kind)}>"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_fixed_size_binary(kind):
        return "binary"
    return _HIVE_TYPES[kind]


def database(stack_name: str) -> str:
    """Return the name of the database of a stack. SQL would have to quote a name with dashes."""
    return stack_name.replace("-", "_")


def _column(name: str, kind: pa.DataType) -> glue.CfnTable.ColumnProperty:
    return glue.CfnTable.ColumnProperty(name=name, type=hive_type(kind))


class Catalogue(Construct):
    """Tables that cost nothing between two queries, and need no update after a run.

    A query on a table of photos names its runs (``WHERE run_id = 'A'``, or ``IN``), and Athena derives the place of the
    files from the name. So nothing has to be registered, and nothing can be out of date.
    """

    def __init__(self, scope: Construct, construct_id: str, *, results: s3.Bucket) -> None:
        super().__init__(scope, construct_id)
        self._results = results
        self.name = cdk.Stack.of(self).stack_name
        self.database = database(self.name)
        stack = cdk.Stack.of(self)
        in_glue = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=stack.account,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=self.database, description="Runs of Fruits!, and what they computed and found"
            ),
        )
        tables = [self._runs(), *(self._table_of_photos(name, schema) for name, schema in sql.TABLES.items())]
        self.workgroup = self._workgroup()
        for table in tables:
            table.add_resource_dependency(in_glue)
        for query in queries.load().values():
            self._named_query(query).add_resource_dependency(self.workgroup)
        self._readers()

    def _runs(self) -> glue.CfnTable:
        parameters = {"EXTERNAL": "TRUE", "classification": "json"}
        return self._table(runs.RUNS, SUMMARY_SCHEMA, runs.SUMMARIES, _JSON, parameters)

    def _table_of_photos(self, name: str, schema: pa.Schema) -> glue.CfnTable:
        parameters = {
            "EXTERNAL": "TRUE",
            "classification": "parquet",
            "projection.enabled": "true",
            f"projection.{sql.RUN_ID}.type": "injected",
            "storage.location.template": self._results.s3_url_for_object(f"{runs.RUNS}/${{{sql.RUN_ID}}}/{name}/"),
        }
        return self._table(name, schema, runs.RUNS, _PARQUET, parameters)

    def _table(
        self, name: str, schema: pa.Schema, folder: str, form: Mapping[str, Any], parameters: dict[str, str]
    ) -> glue.CfnTable:
        columns = [_column(field.name, field.type) for field in schema]
        return glue.CfnTable(
            self,
            f"Table{name.capitalize()}",
            catalog_id=cdk.Stack.of(self).account,
            database_name=self.database,
            table_input=glue.CfnTable.TableInputProperty(
                name=name,
                table_type="EXTERNAL_TABLE",
                parameters=parameters,
                partition_keys=[_column(sql.RUN_ID, pa.string())] if form is _PARQUET else [],
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    columns=columns, location=self._results.s3_url_for_object(f"{folder}/"), **form
                ),
            ),
        )

    def _workgroup(self) -> athena.CfnWorkGroup:
        return athena.CfnWorkGroup(
            self,
            "Workgroup",
            name=self.name,
            description="Queries on the results of Fruits!",
            recursive_delete_option=True,  # otherwise a workgroup with queries in its history cannot be deleted
            work_group_configuration=athena.CfnWorkGroup.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                publish_cloud_watch_metrics_enabled=False,
                bytes_scanned_cutoff_per_query=_MAX_BYTES,
                result_configuration=athena.CfnWorkGroup.ResultConfigurationProperty(
                    output_location=self._results.s3_url_for_object(QUERY_RESULTS),
                    expected_bucket_owner=cdk.Stack.of(self).account,
                    encryption_configuration=athena.CfnWorkGroup.EncryptionConfigurationProperty(
                        encryption_option="SSE_S3"
                    ),
                ),
            ),
        )

    def _named_query(self, query: queries.Query) -> athena.CfnNamedQuery:
        asks = f" Parameters: {', '.join(query.parameters)}." if query.parameters else ""
        return athena.CfnNamedQuery(
            self,
            "".join(word.capitalize() for word in query.name.split("_")),
            name=query.name,
            description=query.question + asks,
            database=self.database,
            work_group=self.name,
            query_string=query.athena,
        )

    def _readers(self) -> None:
        """Create a policy that an administrator attaches to those who may ask. It allows nothing in another region."""
        stack, results = cdk.Stack.of(self), self._results

        def arn(service: str, resource: str) -> str:
            return f"arn:{cdk.Aws.PARTITION}:{service}:{stack.region}:{stack.account}:{resource}"

        tables = [arn("glue", f"table/{self.database}/{table}") for table in (runs.RUNS, *sql.TABLES)]
        keys = [f"{runs.RUNS}/*", f"{runs.SUMMARIES}/*", f"{QUERY_RESULTS}*"]
        allowed: list[tuple[str, list[str], list[str]]] = [
            ("ReadTables", _READ_TABLES, [arn("glue", "catalog"), arn("glue", f"database/{self.database}"), *tables]),
            ("Ask", _ASK, [arn("athena", f"workgroup/{self.name}")]),
            ("ShowTables", _SHOW_TABLES, [arn("athena", "datacatalog/AwsDataCatalog")]),
            ("OpenQueryEditor", _OPEN_QUERY_EDITOR, ["*"]),
            ("ListResults", ["s3:ListBucket", "s3:GetBucketLocation"], [results.bucket_arn]),
            ("ReadResults", ["s3:GetObject"], [results.arn_for_objects(key) for key in (*keys, runs.LATEST)]),
            ("WriteAnswers", _WRITE_ANSWERS, [results.arn_for_objects(f"{QUERY_RESULTS}*")]),
        ]
        here = {"StringEquals": {"aws:RequestedRegion": stack.region}}
        policy = iam.ManagedPolicy(
            self,
            "Readers",
            managed_policy_name=f"{self.name}-readers",
            description="Ask the results of Fruits! in SQL with Athena, and read them",
            statements=[
                iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=here)
                for sid, actions, resources in allowed
            ],
        )
        nag.accept_wildcard(policy, "*", "The lists of workgroups and catalogues support no resource ARNs.")
        logical_id = stack.get_logical_id(results.node.default_child)  # type: ignore[arg-type]  # a bucket has one
        for key in keys:
            nag.accept_wildcard(policy, f"<{logical_id}.Arn>/{key}", "Runs and queries choose the keys.")
