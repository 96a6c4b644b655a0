"""What the clean-up may end: never anything of somebody else, and never a cluster that a run needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdk_app.cleanup_function import decisions

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = timedelta(hours=6)
VPC, OWN = "vpc-1", ["vpce-own", "sg-own"]

names = st.sampled_from(["fruits-dev-a", "fruits-dev-a-b", "fruits-dev-", "fruits-dev", "fruits-devil-a", "other"])
ages = st.timedeltas(timedelta(hours=-1), timedelta(days=9))
clusters = st.lists(
    st.builds(
        lambda number, name, state, age: {
            "Id": f"j-{number}",
            "Name": name,
            "Status": {"State": state, "Timeline": {"CreationDateTime": NOW - age}},
        },
        st.integers(),
        names,
        st.sampled_from(decisions.ACTIVE),
        ages,
    )
)
tags = st.dictionaries(
    st.sampled_from([*decisions.EMR_ENDPOINT, *decisions.GUARDDUTY_ENDPOINT, "stack"]),
    st.sampled_from([*decisions.EMR_ENDPOINT.values(), "fruits-dev"]),
).map(lambda found: [{"Key": key, "Value": value} for key, value in found.items()])
endpoints = st.lists(
    st.fixed_dictionaries(
        {
            "VpcEndpointId": st.sampled_from(["vpce-own", "vpce-1", "vpce-2"]),
            "VpcId": st.sampled_from([VPC, "vpc-2"]),
            "VpcEndpointType": st.sampled_from(["Interface", "Gateway"]),
            "State": st.sampled_from(["available", "Available", "pending", "deleting", "deleted", "Deleted"]),
        },
        optional={"Tags": tags},
    )
)
groups = st.lists(
    st.fixed_dictionaries(
        {
            "GroupId": st.sampled_from(["sg-own", "sg-1", "sg-2"]),
            "GroupName": st.sampled_from(["default", "GuardDutyManagedSecurityGroup"]),
            "VpcId": st.sampled_from([VPC, "vpc-2"]),
        }
    )
)


@given(clusters)
def test_a_run_has_the_clusters_of_exactly_its_name(found: list[dict[str, Any]]) -> None:
    chosen = decisions.clusters_of_run(found, "fruits-dev", "a")
    assert chosen == [cluster for cluster in found if cluster["Name"] == "fruits-dev-a"]
    assert all(cluster in decisions.clusters_of_stack(found, "fruits-dev") for cluster in chosen)


@given(clusters)
def test_a_stack_has_no_cluster_of_a_stack_with_a_longer_name(found: list[dict[str, Any]]) -> None:
    chosen = decisions.clusters_of_stack(found, "fruits-dev")
    assert {cluster["Name"] for cluster in chosen} <= {"fruits-dev-a", "fruits-dev-a-b", "fruits-dev-"}


@given(clusters, ages)
def test_only_clusters_older_than_the_longest_run_are_too_old(found: list[dict[str, Any]], age: timedelta) -> None:
    old = decisions.clusters_older_than(found, age, NOW)
    created = [cluster["Status"]["Timeline"]["CreationDateTime"] for cluster in found if cluster not in old]
    assert all(time >= NOW - age for time in created)
    assert all(cluster["Status"]["Timeline"]["CreationDateTime"] < NOW - age for cluster in old)


@given(clusters)
def test_every_cluster_is_told_once_to_terminate(found: list[dict[str, Any]]) -> None:
    told = decisions.to_terminate(found)
    assert told == [cluster["Id"] for cluster in found if cluster["Status"]["State"] in decisions.ACTIVE[:-1]]


@given(endpoints)
def test_only_interface_endpoints_of_others_in_the_own_network_are_foreign(found: list[dict[str, Any]]) -> None:
    foreign = decisions.foreign_endpoints(found, VPC, OWN)
    for endpoint in found:
        wanted = endpoint["VpcId"] == VPC and endpoint["VpcEndpointType"] == "Interface"
        wanted = wanted and endpoint["VpcEndpointId"] != "vpce-own" and endpoint["State"].lower() != "deleted"
        assert (endpoint in foreign) is wanted
    for endpoint in decisions.endpoints_of_emr(foreign):
        assert decisions.EMR_ENDPOINT.items() <= {tag["Key"]: tag["Value"] for tag in endpoint["Tags"]}.items()


@given(groups)
def test_only_security_groups_of_others_in_the_own_network_are_foreign(found: list[dict[str, Any]]) -> None:
    foreign = decisions.foreign_groups(found, VPC, OWN)
    assert all(group["VpcId"] == VPC and group["GroupId"] in ("sg-1", "sg-2") for group in foreign)
    left = [group for group in found if group not in foreign]
    assert all(
        group["VpcId"] != VPC or group["GroupId"] == "sg-own" or group["GroupName"] == "default" for group in left
    )
