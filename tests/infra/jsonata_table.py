"""The values that the JSONata of the state machines is tested with: inputs, answers of services, and variables.

Each entry lists what is possible: what AWS documents, or what the state machines and the job write. The first value of
each list is the fullest. The tests derive impossible values from it: without a field, or with a value of another type.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from spark_job.manifest import Counts, Manifest, ModelRecord, PcaRecord

#: Values of every type, each of which replaces every part of a possible value.
ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1.5,
    1e21,
    "",
    "12",
    """it's "été" 日本 😀""",
    [],
    ["x"],
    ["x", 1],
    [[]],
    {},
    {"Key": None},
]

_MANIFEST = Manifest(
    run_id="run-1",
    started="2026-01-01T10:00:05+00:00",
    finished="2026-01-01T10:30:00+00:00",
    input="s3://data/photos/",
    output="s3://results",
    settings={"components": 0.95},
    counts=Counts(found=4, computed=2, reused=1, rejected=1),
    rejected={"NotAnImage": 1},
    labels={"l'été": 2, 'a "b"': 1},
    model=ModelRecord("litert", "imagenet", "ab", "cd", "1"),
    pca=PcaRecord(3, 0.9600000000000001, True, 0.9, None, 3),
    seconds={"plan": 0.1},
    images_per_second=12.5,
    versions={"python": "3.11"},
    reused_from=None,
)
_MANIFESTS = [
    _MANIFEST,
    dataclasses.replace(_MANIFEST, model=dataclasses.replace(_MANIFEST.model, weights="random"), images_per_second=0),
    dataclasses.replace(_MANIFEST, started="2025-12-31T23:59:59+00:00", labels={}, rejected={}),
]


def _body(text: str) -> dict[str, Any]:
    return {"Body": text, "ContentLength": len(text), "ContentType": "binary/octet-stream", "ETag": '"ab"'}


def _page(*keys: str, truncated: bool = False) -> dict[str, Any]:
    contents = [{"ETag": '"ab"', "Key": key, "Size": 1, "LastModified": "2020-01-01T00:00:00.000Z"} for key in keys]
    page = {"IsTruncated": truncated, "KeyCount": len(keys), "MaxKeys": 100, "Name": "StorageData"}
    return page | ({"Contents": contents} if keys else {})


def _ended(**status: Any) -> dict[str, Any]:
    return {"Cluster": {"Id": "j-1", "Name": "fruits-dev-run-1", "Status": {"State": "TERMINATED", **status}}}


def _steps(*details: dict[str, str] | None) -> dict[str, Any]:
    statuses = [{"State": "FAILED"} | ({"FailureDetails": each} if each is not None else {}) for each in details]
    return {"Steps": [{"Id": "s-1", "Name": "run-1", "Status": status} for status in statuses]}


_GIVEN = {"input_prefix": "photos/", "components": 200, "max_rejected": 0.1, "recompute": True}
_COMPLETED = [
    _GIVEN,
    {"input_prefix": "", "components": 0.95, "max_rejected": 0.05, "recompute": False},
    {"input_prefix": 'été 2026/l\'"été"/😀/', "components": 1e-7, "max_rejected": 0, "recompute": False},
    {"input_prefix": "photos", "components": 0.1 + 0.2, "max_rejected": 1 / 3, "recompute": True},
    {"input_prefix": "photos", "components": 200.0, "max_rejected": 1e-5, "recompute": True},
    {"input_prefix": "photos", "components": 1280, "max_rejected": 2**-22, "recompute": True},
]
_NOTIFICATION = [{"cause": "It broke."}, {"cause": ""}, {"cause": 'it\'s "été" 日本 😀\nline 2'}]

#: The inputs of states, by state machine and state.
INPUTS: dict[tuple[str, str], list[Any]] = {
    ("Workflow", "Read input"): [
        _GIVEN,
        *_COMPLETED,
        {},
        *(
            {name: value}
            for name in _GIVEN
            for value in [*ODD, 1, 1280, 1281, 1.5, 1e-9, "/a", "a//b", "s3://a", "a\n"]
        ),
        *({"input_prefix": value} for value in (10**15, 26050504380495.25, -0.0, ["photos", "été"], [200.0])),
        {"prefix": "photos"},
        {'it\'s "été" 日本 😀': 1, "b": 2},
        {"input_prefix": None, "a": None},
        *ODD,
    ],
    ("Workflow", "Fill in defaults"): [{}, *_COMPLETED, *({name: value} for name, value in _GIVEN.items())],
    ("Workflow", "Prepare run"): _COMPLETED,
    ("Workflow", "Notify people"): _NOTIFICATION,
    ("Workflow", "Run failed"): _NOTIFICATION,
}

#: The answers of services, by state machine and state.
RESULTS: dict[tuple[str, str], list[Any]] = {
    ("Workflow", "Look for images"): [
        _page("photos/notes.txt", "photos/apple/1.jpg", truncated=True),
        _page('photos/l\'été/1 "a".JPEG', "photos/日本 😀.WebP", ".png", "a.jpg.txt"),
        _page("photos/", "photos/a.txt", truncated=True),
        _page("1.jpg"),
        _page("a.txt"),
        _page("line\nbreak.jpg"),
        _page("ends with a line break.jpg\n"),
        _page(truncated=True),
        _page() | {"Contents": []},
        _page(),
    ],
    ("Workflow", "Create cluster"): [{"ClusterId": "j-1", "ClusterArn": "arn:aws:elasticmapreduce:..."}],
    ("Workflow", "Has the cluster ended?"): [
        _ended(StateChangeReason={"Code": "USER_REQUEST", "Message": "Terminated by user request"}),
        {"Cluster": {"Id": "j-1", "Status": {"State": "TERMINATING"}}},
        {"Cluster": {"Id": "j-1", "Status": {"State": "TERMINATED_WITH_ERRORS"}}},
    ],
    ("Workflow", "Read summary"): [_body(manifest.summary()) for manifest in _MANIFESTS],
    ("Workflow", "Read the job's failure reason"): [
        _body(json.dumps({"reason": "7 % of the images were rejected."})),
        _body('{"reason": ""}'),
        _body(json.dumps({"reason": 'it\'s "été" 日本 😀\n'}, ensure_ascii=False)),
    ],
    ("Workflow", "Ask why the cluster ended"): [
        _ended(StateChangeReason={"Code": "BOOTSTRAP_FAILURE", "Message": 'It\'s a "bootstrap" failure: é.'}),
        _ended(StateChangeReason={"Code": "USER_REQUEST", "Message": "Terminated by user request"}),
        _ended(StateChangeReason={"Code": "INTERNAL_ERROR"}),
        _ended(StateChangeReason={"Message": "No code."}),
        _ended(StateChangeReason={}),
        _ended(),
    ],
    ("Workflow", "Ask why the step ended"): [
        _steps({"Reason": "Unknown Error.", "Message": 'it\'s "été" 😀', "LogFile": "s3://logs/stderr.gz"}),
        _steps({"Reason": "Unknown Error."}, {"Reason": "older"}),
        _steps({"Message": "m", "LogFile": "f"}),
        _steps({"LogFile": ""}),
        _steps({}),
        _steps(None),
        _steps(),
    ],
}

#: Bodies of objects that are not what the job writes, most of them no JSON.
_ODD_BODIES = [
    "",
    "{",
    "null",
    "NaN",
    "Infinity",
    "[]",
    '["x"]',
    '"text"',
    "7",
    "{}",
    "{'a': 1}",
    " {} ",
    '{"a": 1e999}',
]

#: The errors that a catch may get.
ERRORS = [
    {"Error": "S3.S3Exception", "Cause": "Access Denied (Service: S3, Status Code: 403)"},
    {"Error": "States.TaskFailed", "Cause": '{"Status": "it\'s \\"été\\" 😀"}'},
    {"Error": "States.TaskFailed", "Cause": ""},
    {"Error": "States.Timeout"},
]

#: The context object of executions.
CONTEXTS = [
    {
        "Execution": {
            "Id": f"arn:aws:states:eu-west-3:000000000000:execution:fruits-dev:{name}",
            "Name": name,
            "StartTime": start,
            "Input": {},
        },
        "State": {"EnteredTime": entered, "Name": "state", "RetryCount": 0},
    }
    for name, start, entered in [
        ("run-1", "2026-01-01T10:00:00.123Z", "2026-01-01T10:23:24.123Z"),
        (
            "9b7e9d6c-6bb2-4a1e-8c9d-0a1b2c3d4e5f_9b7e9d6c-6bb2-4a1e-8c9d-0a1b2c3d4e5f",
            "2026-01-01T10:00:05Z",
            "2026-01-01T10:00:20.5Z",
        ),
        ("l'été", "2026-01-01T10:00:06.000Z", "2026-01-04T10:45:06.000Z"),
        ("a(1)", "2030-01-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z"),
    ]
]

_TEXTS = ["", "It broke.", 'it\'s "été" 日本 😀\n']
_SUMMARIES = [json.loads(manifest.summary()) for manifest in _MANIFESTS]

#: What the variables may hold, by state machine and name.
VARIABLES: dict[tuple[str, str], list[Any]] = {
    ("Workflow", "problems"): ["", 'Unknown key "été". ', "recompute is no; give true or false. "],
    ("Workflow", "run"): ["run-1", "R.2_3-" + 74 * "x"],
    ("Workflow", "prefix"): ["photos/", 'été 2026/l\'"été"/😀/', ""],
    ("Workflow", "command"): [["spark-submit", "--input", 's3://data/l\'"été"/']],
    ("Workflow", "flags"): [["--recompute"], []],
    ("Workflow", "cluster_id"): ["", "j-1"],
    ("Workflow", "error_name"): ["", "JobTookTooLong", "JobFailed"],
    ("Workflow", "failure"): _TEXTS,
    ("Workflow", "leak"): _TEXTS,
    ("Workflow", "last_seen"): ["", 'photos/l\'été "😀".txt'],
    ("Workflow", "looks"): [0, 1, 199, 200],
    ("Workflow", "images"): [0, 1, 100],
    ("Workflow", "job_reason"): _TEXTS,
    ("Workflow", "cluster_reason"): _TEXTS,
    ("Workflow", "step_reason"): _TEXTS,
    ("Workflow", "cluster_state"): ["TERMINATED", "TERMINATED_WITH_ERRORS", "TERMINATING", "RUNNING"],
    ("Workflow", "end_looks"): [0, 1, 39, 40],
    ("Workflow", "summary"): [*_SUMMARIES, None],
    ("Workflow", "published"): [True, False],
}


def odd(value: Any) -> Iterator[Any]:
    """Yield values that differ from `value` in one place: a missing or repeated part, or a part of another type."""
    yield from ODD
    match value:
        case dict():
            for key, part in value.items():
                rest = {name: other for name, other in value.items() if name != key}
                yield rest
                yield from ({**rest, key: other} for other in odd(part))
        case [first, *rest]:
            yield from ([first], [first, *value])
            yield from ([other, *rest] for other in odd(first))


def odd_results(key: tuple[str, str]) -> Iterator[Any]:
    """Yield answers that AWS does not document."""
    fullest = RESULTS[key][0]
    yield from odd(fullest)
    if "Body" in fullest:
        yield from map(_body, _ODD_BODIES)
        yield from (_body(json.dumps(content)) for content in odd(json.loads(fullest["Body"])))
