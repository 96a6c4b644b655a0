from datetime import UTC, date, datetime

import pytest

from cdk_app import emr_cluster, prices
from cdk_app.europe import REGIONS
from cdk_app.prices import DISKS, EMR_FEE, INSTANCES, Nodes
from cdk_app.stage_settings import Architecture

ALL = [*INSTANCES.values(), *DISKS.values(), EMR_FEE]
TYPES = [name for names in emr_cluster.INSTANCE_TYPES.values() for name in names]


def test_every_instance_type_and_disk_has_a_price_or_a_reason_in_every_region() -> None:
    assert INSTANCES.keys() == {(region, name) for region in REGIONS for name in TYPES}
    assert DISKS.keys() == REGIONS.keys()
    for price in ALL:
        assert price.source
        assert price.unit
        assert date(2026, 1, 1) <= date.fromisoformat(price.read) <= datetime.now(UTC).date()
        assert price.value is None or 0 < price.value < 1


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_every_cluster_that_a_stage_can_start_has_a_price(region: str, architecture: Architecture) -> None:
    assert Nodes(region, tuple(emr_cluster.instance_types(architecture, region)), 3).usd_per_hour is not None


def test_a_price_matches_a_calculation_by_hand() -> None:
    nodes = Nodes("eu-west-3", ("m6g.xlarge", "m7g.xlarge"), 3)
    assert nodes.usd_per_hour == pytest.approx(3 * (0.1904 * 1.25 + 64 * 0.093 / 730))  # the dearest type
    assert nodes.note == (
        f"List prices of {prices.READ} before tax, on demand, for m7g.xlarge, the dearest type that EMR may choose, "
        "with disk and EMR's fee. EMR's fee of 25 % and the price of the disk are assumed. Requests to S3 are not "
        "included."
    )
    assert "m5.xlarge, with disk" in Nodes("eu-west-1", ("m5.xlarge",), 1).note
    assert "EMR's fee of 25 % is assumed." in Nodes("eu-west-1", ("m5.xlarge",), 1).note


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (Nodes("eu-south-1", ("m7g.xlarge", "m6g.xlarge"), 3), "No list price of m7g.xlarge in eu-south-1 is known."),
        (Nodes("us-east-1", ("m7g.xlarge",), 3), "No list price of m7g.xlarge in us-east-1 is known."),
        (Nodes("eu-west-1", ("x", "y"), 3), "No list price of x and y in eu-west-1 is known."),
    ],
)
def test_an_unknown_price_is_none_and_says_why(nodes: Nodes, why: str) -> None:
    assert (nodes.usd_per_hour, nodes.note) == (None, why)
    with pytest.raises(ValueError, match="There is no price"):
        _ = INSTANCES["eu-south-1", "m7g.xlarge"].known


def test_spot_nodes_count_as_on_demand_and_the_note_says_so() -> None:
    spot, none = (Nodes("eu-west-3", ("m7g.xlarge",), 7, spot) for spot in (4, 0))
    assert spot.usd_per_hour == none.usd_per_hour
    assert "The 4 spot nodes count as on demand." in spot.note
    assert "spot" not in none.note
