from tests.infra.template import ACCOUNT, REGION, Synthesised


def test_three_isolated_subnets_in_three_named_zones(dev: Synthesised) -> None:
    subnets = dev.of("AWS::EC2::Subnet").values()
    assert sorted(subnet["AvailabilityZone"] for subnet in subnets) == ["eu-west-3a", "eu-west-3b", "eu-west-3c"]
    assert all(subnet["MapPublicIpOnLaunch"] is False for subnet in subnets)


def test_no_way_out_but_s3(dev: Synthesised) -> None:
    for kind in ("InternetGateway", "NatGateway", "Route", "VPCGatewayAttachment", "EIP"):
        assert dev.of(f"AWS::EC2::{kind}") == {}
    (endpoint,) = dev.of("AWS::EC2::VPCEndpoint").values()
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"]) == ("Gateway", f"com.amazonaws.{REGION}.s3")
    assert len(endpoint["RouteTableIds"]) == 3


def test_the_endpoint_allows_own_buckets_and_package_repositories(dev: Synthesised) -> None:
    (endpoint,) = dev.of("AWS::EC2::VPCEndpoint").values()
    statements = {statement["Sid"]: statement for statement in endpoint["PolicyDocument"]["Statement"]}
    assert set(statements) == {"PackageRepositories", "LogsOfEmr", "OwnBuckets"}
    assert statements["PackageRepositories"]["Action"] == "s3:GetObject"
    assert statements["PackageRepositories"]["Resource"] == [
        f"arn:aws:s3:::al2023-repos-{REGION}-de612dc2/*",
        f"arn:aws:s3:::repo.{REGION}.emr.amazonaws.com/*",
    ]
    assert statements["LogsOfEmr"]["Action"] == "s3:PutObject"
    assert statements["LogsOfEmr"]["Resource"] == f"arn:aws:s3:::aws157-logs-prod-{REGION}/*"
    assert "Condition" not in statements["LogsOfEmr"]
    assert statements["OwnBuckets"]["Condition"] == {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}
    own = {arn.split("/")[0].removeprefix("arn:aws:s3:::") for arn in statements["OwnBuckets"]["Resource"]}
    assert own == {"StorageData", "StorageResults", "StorageLogs", f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"}


def test_every_rule_that_emr_would_add_is_declared(dev: Synthesised) -> None:
    rules = dev.of("AWS::EC2::SecurityGroupIngress").values()
    nodes = ("NetworkPrimary", "NetworkWorkers")
    declared = {
        (
            rule["GroupId"].split(".")[0],
            rule["SourceSecurityGroupId"].split(".")[0],
            rule["IpProtocol"],
            rule["FromPort"],
        )
        for rule in rules
    }
    between = {
        (group, peer, protocol, port)
        for group in nodes
        for peer in nodes
        for protocol, port in (("tcp", 0), ("udp", 0), ("icmp", -1))
    }
    service = {(group, "NetworkService", "tcp", 8443) for group in nodes}
    assert declared == between | service | {("NetworkService", "NetworkPrimary", "tcp", 9443)}
    out = dev.of("AWS::EC2::SecurityGroupEgress").values()
    assert sorted(rule["DestinationSecurityGroupId"].split(".")[0] for rule in out) == sorted(nodes)
    assert {(rule["FromPort"], rule["ToPort"]) for rule in out} == {(8443, 8443)}


def test_the_resources_that_emr_changes_have_its_tag(dev: Synthesised) -> None:
    for kind in ("VPC", "Subnet", "SecurityGroup"):
        for properties in dev.of(f"AWS::EC2::{kind}").values():
            assert {"Key": "for-use-with-amazon-emr-managed-policies", "Value": "true"} in properties["Tags"]
