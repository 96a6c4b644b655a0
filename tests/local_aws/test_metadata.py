import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.local_aws.plugin.metadata import Metadata

_ROLE = "/latest/meta-data/iam/security-credentials/"
_KEYS = {"AccessKeyId": "key", "SecretAccessKey": "secret", "SessionToken": "token"}


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    served = Metadata("nodes", lambda: _KEYS)
    yield served
    served.close()


def get(metadata: Metadata, path: str, method: str = "GET", **headers: str) -> str:
    request = urllib.request.Request(metadata.url + path, method=method, headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return str(answer.read(), "utf-8")


def test_a_request_without_a_token_is_refused(metadata: Metadata) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        get(metadata, _ROLE)


def test_with_a_token_the_service_gives_the_credentials_of_the_role(metadata: Metadata) -> None:
    token = {"X-aws-ec2-metadata-token": get(metadata, "/latest/api/token", "PUT")}
    assert get(metadata, _ROLE, **token) == "nodes"
    found = json.loads(get(metadata, f"{_ROLE}nodes", **token))
    assert (found["Code"], found["AccessKeyId"], found["Token"]) == ("Success", "key", "token")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(metadata, f"{_ROLE}other", **token)
