"""Turns the errors of boto3 and obstore into Python's own, by the code that S3 gives: its HTTP status says too little.

An error of the account, such as a token that has expired, ends a run: it is not the fault of the photo that was read.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

from spark_job.storage.base import AccountError, ArchivedError, BadNameError

_CODE = re.compile(r"<Code>([^<]+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_REGION = re.compile(r"<Region>([^<]+)</Region>|expecting '([\w-]+)'")
_STATUS = re.compile(r"status code: (\d{3})")
_NOT_AUTHORIZED = re.compile(r"not authorized to perform:? ([\w:*]+)")
_CERTIFICATE = re.compile("(?i)certificate|UnknownIssuer")
_SIGN_IN = "Sign in again, or get new credentials, and run again"
_CHECK_KEY = "Check the access key and its secret in the environment or the AWS profile"
_ACCOUNT = {
    "RequestTimeTooSkewed": "the clock of this machine is wrong. Set the clock, and run again",
    "SignatureDoesNotMatch": f"the secret access key is wrong. {_CHECK_KEY}",
    **dict.fromkeys(("InvalidAccessKeyId", "InvalidClientTokenId"), f"the access key does not exist. {_CHECK_KEY}"),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"),
        f"the credentials have expired. {_SIGN_IN}",
    ),
    **dict.fromkeys(("InvalidToken", "UnrecognizedClientException"), f"the session token is not valid. {_SIGN_IN}"),
    "InvalidSecurity": f"the credentials are not valid. {_SIGN_IN}",
    "AllAccessDisabled": "all access is disabled. Ask AWS Support",
    "AccountProblem": "there is a problem with the AWS account. Ask AWS Support",
    "NotSignedUp": "the AWS account has not signed up for S3",
    "NoSuchBucket": "the bucket does not exist. Check its name",
    "InvalidBucketName": "no bucket can have this name. Check it",
}
_OTHER_REGION = {
    *("PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed"),
    *("IncorrectEndpoint", "IllegalLocationConstraintException"),
}
_PROXY_WANTS_PASSWORD = 407
_TRANSIENT = {"RequestTimeout", "SlowDown", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException"}

_DENIED = "access to {uri} is denied. It needs the permission {permission}"
_CHANGED = "{uri} exists already, or has changed"
_KINDS: dict[int | None, tuple[type[OSError], str]] = {
    **dict.fromkeys((401, 403), (PermissionError, _DENIED)),
    **dict.fromkeys((304, 409, 412), (FileExistsError, _CHANGED)),
    404: (FileNotFoundError, "{uri} does not exist"),
}


@dataclass(frozen=True)
class Refusal:
    """What S3 answered instead of what was asked for.

    Attributes
    ----------
    status
        The HTTP status; None if there was no answer.
    code, message
        S3's own, such as ``AccessDenied``; empty if the answer has none.
    region
        The region of the bucket, if S3 tells it.
    """

    status: int | None
    code: str
    message: str
    region: str | None

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Read the message of an obstore error, which quotes the answer."""
        status, region = _STATUS.search(text), _REGION.search(text)
        code = "Redirect" if "redirect without LOCATION" in text else _first(_CODE, text)
        return cls(
            int(status[1]) if status else None, code, _first(_MESSAGE, text), region and (region[1] or region[2])
        )

    @classmethod
    def of_response(cls, response: dict[str, Any]) -> Self:
        """Read what a ``ClientError`` of boto3 holds."""
        error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
        headers = meta.get("HTTPHeaders", {})
        region = error.get("Region") or headers.get("x-amz-bucket-region")
        code = "Redirect" if error.get("Code") == "301" else str(error.get("Code", ""))
        return cls(meta.get("HTTPStatusCode"), code, str(error.get("Message", "")), region)

    def error(self, uri: str, permission: str) -> Exception:
        """Return the error to raise. ``permission`` is what the request needs, such as ``s3:GetObject``."""
        if problem := self._of_account():
            return AccountError(f"S3 refuses {uri}: {problem}.")
        if self.code == "InvalidObjectState":
            return ArchivedError(f"{uri} is archived. Restore it from Glacier first")
        if self.code.startswith("KMS."):
            return PermissionError(f"{uri} cannot be decrypted: {self.code}: {self.message}")
        if kind := _KINDS.get(self.status):
            return kind[0](kind[1].format(uri=uri, permission=self._missing() or permission))
        said = f"{uri}: {self.code or 'HTTP status'} {self.message or self.status or ''}".rstrip()
        is_final = self.status and self.status < 500 and self.status not in (408, 429) and self.code not in _TRANSIENT
        return OSError(said) if is_final else ConnectionError(said)

    def _of_account(self) -> str | None:
        if self.status == _PROXY_WANTS_PASSWORD:
            return "the proxy wants a user name and a password. Set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT"
        if self.code not in _OTHER_REGION:
            return _ACCOUNT.get(self.code)
        where = self.region or "another region"
        return f"the bucket is in {where}. Set AWS_REGION to the region of the bucket"

    def _missing(self) -> str | None:
        found = _NOT_AUTHORIZED.search(self.message)
        return found and found[1]


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""


@contextlib.contextmanager
def plain_errors(uri: str, permission: str) -> Iterator[None]:
    """Convert the errors of obstore and boto3 into Python's own, with a message of one line.

    Their causes are left out: a person cannot read them, and S3's answer is all that they have.
    """
    from botocore import exceptions as boto
    from obstore import exceptions as obstore

    try:
        yield
    except boto.ClientError as error:
        raise Refusal.of_response(error.response).error(uri, permission) from None
    except (boto.ConnectionError, boto.HTTPClientError) as error:
        raise _unanswered(uri, str(error)) from None
    except boto.BotoCoreError as error:  # no credentials, an unknown profile, a login that has expired
        raise AccountError(f"{uri} cannot be used: {str(error).rstrip('.')}. Check the AWS settings.") from None
    except (obstore.BaseError, FileNotFoundError) as error:
        refusal = Refusal.of_text(str(error))
        if isinstance(error, obstore.AlreadyExistsError | obstore.PreconditionError):
            refusal = replace(refusal, status=412)
        is_answered = refusal.status or refusal.code
        raise refusal.error(uri, permission) if is_answered else _unanswered(uri, str(error)) from None
    except ValueError as error:
        if "endpoint" in str(error):
            raise AccountError(f"{uri} cannot be used: {error}. Check AWS_ENDPOINT_URL.") from None
        _, about_name, said = str(error).partition("Could not parse path: ")
        if not about_name:
            raise
        raise BadNameError(f"{said!r}; rename it") from None


def _unanswered(uri: str, text: str) -> Exception:
    if "CaUsedAsEndEntity" in text:
        return AccountError(
            f"The server of {uri} uses the certificate of its authority itself, which obstore refuses. Give the server "
            "a certificate that is not marked as an authority (basicConstraints=CA:FALSE)."
        )
    if _CERTIFICATE.search(text):
        return AccountError(
            f"The certificate of the server of {uri} is not trusted. Set AWS_CA_BUNDLE to the file of your certificate "
            "authority."
        )
    return ConnectionError(f"{uri}: {text.splitlines()[0]}")


def refuse_other_regions(response: Any, operation: Any, **_: object) -> None:
    """Let boto3 fail if a bucket is in another region. It would follow, but obstore would not."""
    from botocore.exceptions import ClientError

    if response is not None and Refusal.of_response(response[1]).code in _OTHER_REGION:
        raise ClientError(response[1], operation.name)
