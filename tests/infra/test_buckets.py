import pytest

from cdk_app.stage_settings import StageSettings
from tests.infra.conftest import Synthesise
from tests.infra.template import Synthesised

BUCKETS = ("StorageData", "StorageResults", "StorageLogs")


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_encrypted_closed_and_tls_only(dev: Synthesised, name: str) -> None:
    bucket = dev.of("AWS::S3::Bucket")[name]
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    statements = dev.one("AWS::S3::BucketPolicy", f"{name}Policy")["PolicyDocument"]["Statement"]
    denied = [statement["Condition"] for statement in statements if statement["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in denied
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in denied


def test_runs_and_logs_expire_and_photos_do_not(synthesise: Synthesise) -> None:
    buckets = synthesise(StageSettings.of(keep_runs_days=7, keep_logs_days=3)).of("AWS::S3::Bucket")
    expire = {
        name: [
            (rule.get("Prefix", ""), rule["ExpirationInDays"])
            for rule in bucket["LifecycleConfiguration"]["Rules"]
            if "ExpirationInDays" in rule
        ]
        for name, bucket in buckets.items()
    }
    results = [("runs/", 7), ("summaries/", 7), ("queries/", 7)]
    assert expire == {"StorageData": [], "StorageResults": results, "StorageLogs": [("", 3)]}


def test_a_deleted_photo_can_be_fetched_back_for_thirty_days(dev: Synthesised) -> None:
    bucket = dev.of("AWS::S3::Bucket")["StorageData"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    rule = next(it for it in bucket["LifecycleConfiguration"]["Rules"] if "NoncurrentVersionExpiration" in it)
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rule["ExpiredObjectDeleteMarker"] is True


def test_the_function_that_empties_buckets_logs_to_a_log_group_of_the_stack(dev: Synthesised) -> None:
    assert dev.one("AWS::Lambda::Function", "AutoDelete")["LoggingConfig"] == {"LogGroup": "StorageEmptying"}
    assert "StorageEmptying" in dev.of("AWS::Logs::LogGroup")
