"""What people read if S3 refuses, whichever of the two clients asks."""

import os
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_job import isolation
from spark_job.storage import open_store
from spark_job.storage.base import AccountError, ArchivedError, Store
from tests.s3_stand_in import StandIn

REQUESTS: dict[str, Callable[[Store], object]] = {
    "list": lambda store: store.folders(),
    "read": lambda store: store.read("a.jpg"),
    "create": lambda store: store.create("a.jpg", b"x"),
    "replace": lambda store: store.replace("a.jpg", b"x", seen) if (seen := store.read("b.jpg")) else None,
}


@pytest.fixture(autouse=True)
def there_is_one_object(stand_in: StandIn) -> None:
    stand_in.put("bucket/photos/b.jpg", b"x")


def _refuse(s3: StandIn, status: int, code: str) -> None:
    for path in ("bucket", "bucket/photos/a.jpg"):
        s3.faults[path] = [(status, code)] * 20


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize(
    ("status", "code", "problem"),
    [
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
        (403, "SignatureDoesNotMatch", "the secret access key is wrong"),
        (403, "InvalidAccessKeyId", "the access key does not exist"),
        (400, "ExpiredToken", "the credentials have expired"),
        (400, "InvalidToken", "the session token is not valid"),
        (403, "InvalidSecurity", "the credentials are not valid"),
        (407, "", "the proxy wants a user name and a password"),
        (404, "NoSuchBucket", "the bucket does not exist"),
        (301, "PermanentRedirect", "the bucket is in (us-west-2|another region). Set AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "the bucket is in (us-west-2|another region). Set AWS_REGION"),
    ],
)
def test_an_error_of_the_account_is_the_fault_of_no_object(
    stand_in: StandIn, request_: str, status: int, code: str, problem: str
) -> None:
    _refuse(stand_in, status, code)
    with pytest.raises(AccountError, match=f"S3 refuses s3://bucket/photos.*: {problem}"):
        REQUESTS[request_](open_store("s3://bucket/photos"))
    assert stand_in.requests["bucket/photos/a.jpg"] + stand_in.requests["bucket"] == 1  # it is not asked again


@pytest.mark.parametrize(
    ("request_", "refusal", "kind", "said"),
    [
        ("read", (403, "AccessDenied"), PermissionError, "denied. It needs the permission s3:GetObject"),
        ("create", (403, "AccessDenied"), PermissionError, "denied. It needs the permission s3:PutObject"),
        ("list", (403, "AccessDenied"), PermissionError, "denied. It needs the permission s3:ListBucket"),
        ("read", (403, "InvalidObjectState"), ArchivedError, "is archived. Restore it"),
        ("read", (400, "KMS.DisabledException"), PermissionError, "cannot be decrypted: KMS.DisabledException"),
        ("read", (404, "NoSuchKey"), FileNotFoundError, "does not exist"),
        ("create", (412, "PreconditionFailed"), FileExistsError, "exists already, or has changed"),
        ("read", (400, "KeyTooLongError"), OSError, "KeyTooLongError"),
    ],
)
def test_other_refusals_are_about_one_object(
    stand_in: StandIn, request_: str, refusal: tuple[int, str], kind: type[OSError], said: str
) -> None:
    _refuse(stand_in, *refusal)
    with pytest.raises(kind, match=said):
        REQUESTS[request_](open_store("s3://bucket/photos"))
    assert stand_in.requests["bucket/photos/a.jpg"] + stand_in.requests["bucket"] == 1


def test_settings_that_boto3_refuses_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(AccountError, match="no-such-profile"):
        open_store("s3://bucket/photos")


@pytest.fixture(scope="module")
def certificate(openssl: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file, which no public authority has signed."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
    command = [openssl, *options.split(), *names.split(), "-keyout", str(file), "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", None])
def test_commands_trust_a_private_certificate_authority(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, variable: str | None
) -> None:
    s3, tls = StandIn(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with s3.serve(tls=tls) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name in isolation.AUTHORITIES:
            monkeypatch.delenv(name, raising=False)
        if not variable:
            with pytest.raises(AccountError, match=r"not trusted\. Set AWS_CA_BUNDLE"):
                open_store("s3://bucket/photos").read("b.jpg")
            return
        # boto3 lists the output, then obstore reads latest.json.
        command = [sys.executable, "-m", "spark_job", "watch", "--output", "s3://bucket/results"]
        environment = os.environ | {variable: str(certificate)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("fruits: There is no run in s3://bucket/results.")
    assert s3.requests["bucket/results/latest.json"] == 1
