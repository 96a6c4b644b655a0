"""List prices of AWS for the nodes of a cluster, and what they cost per hour.

This is the only place with these prices: the state machine and ``docs/costs.py`` use them.
"""

from dataclasses import dataclass

READ = "2026-11-25"
"""The day on which the sources below were read."""
HOURS_PER_MONTH = 730
DISK_GB = 64
"""The disk of a node, in GB."""
MINIMUM_MINUTES = 1
"""EC2, EBS and EMR charge per second, and for at least a minute (aws.amazon.com/emr/pricing, "EMR on EC2")."""


@dataclass(frozen=True)
class Price:
    """A price in US dollars before tax, its source, and the day on which the source was read.

    It is ``assumed`` if no price of the region was found. If it is None, ``source`` says why it is unknown.
    """

    value: float | None
    unit: str
    source: str
    assumed: bool = False
    read: str = READ

    @property
    def known(self) -> float:
        """The value; raise ValueError if it is unknown."""
        if self.value is None:
            raise ValueError(f"There is no price: {self.unit}, {self.source}.")
        return self.value


_TYPES = ("m7g.xlarge", "m6g.xlarge", "m7i.xlarge", "m5.xlarge")
_ON_DEMAND: dict[str, tuple[float | None, ...]] = {
    "eu-west-1": (0.1819, 0.172, 0.2247, 0.214),
    "eu-west-3": (0.1904, 0.18, 0.2352, 0.224),
    "eu-central-1": (0.1955, 0.184, 0.2415, 0.23),
    "eu-north-1": (0.1734, 0.164, 0.2142, 0.204),
    "eu-south-1": (None, 0.1792, 0.2352, 0.224),
    "eu-south-2": (0.1818, 0.172, 0.2247, 0.214),
}
_CATALOGUE = "SkyPilot catalogue v8 at 00148f2"

#: The price of an instance by region and type, on demand, without EMR's fee.
INSTANCES = {
    (region, instance_type): Price(
        value, f"{instance_type}, per hour", _CATALOGUE if value else f"not in {_CATALOGUE}: not offered there"
    )
    for region, values in _ON_DEMAND.items()
    for instance_type, value in zip(_TYPES, values, strict=True)
}

_GP3 = "gp3, per GB and month"
_OTHER_REGION = "that of Frankfurt, the highest of those found"
#: The price of the disk by region.
DISKS = {
    "eu-west-1": Price(0.088, _GP3, "AWS price list of 2026-04-01, SKU TXACT7E3PV6ZX2NM"),
    "eu-west-3": Price(0.093, _GP3, "0.08 in Virginia, plus 16 % for Paris", assumed=True),
    "eu-central-1": Price(0.0952, _GP3, "AWS price list of 2026-08-26, EUC1-EBS:VolumeUsage.gp3"),
    "eu-north-1": Price(0.0836, _GP3, "AWS price list of 2026-10-01, EUN1-EBS:VolumeUsage.gp3"),
    "eu-south-1": Price(0.0952, _GP3, _OTHER_REGION, assumed=True),
    "eu-south-2": Price(0.0952, _GP3, _OTHER_REGION, assumed=True),
}

#: EMR's fee for every instance.
EMR_FEE = Price(0.25, "EMR's fee, share of on-demand", "0.048 / 0.192 for m5.xlarge in Virginia", assumed=True)


@dataclass(frozen=True)
class Nodes:
    """The nodes of a cluster.

    Attributes
    ----------
    region
        The region, such as ``eu-west-3``.
    instance_types
        The types that EMR may choose from.
    count
        The number of nodes: the primary node, the core nodes and the spot nodes.
    spot
        How many of them are spot nodes. The primary node never is one.
    """

    region: str
    instance_types: tuple[str, ...]
    count: int
    spot: int = 0

    @property
    def usd_per_hour(self) -> float | None:
        """The price of all nodes per hour, or None if the price of a type is unknown.

        EMR chooses the types when it starts the cluster, so every node counts as the dearest one. There are no list
        prices for spot nodes, so they count as on demand. The true price is therefore rather lower.
        """
        if self._unpriced:
            return None
        instance = INSTANCES[self.region, self._dearest].known
        disk = DISK_GB * DISKS[self.region].known / HOURS_PER_MONTH
        return self.count * (instance * (1 + EMR_FEE.known) + disk)

    @property
    def note(self) -> str:
        """What the price means, or why there is none."""
        if self._unpriced:
            return f"No list price of {' and '.join(self._unpriced)} in {self.region} is known."
        choice = ", the dearest type that EMR may choose" if len(self.instance_types) > 1 else ""
        disk = " and the price of the disk are" if DISKS[self.region].assumed else " is"
        spot = f" The {self.spot} spot nodes count as on demand." if self.spot else ""
        return (
            f"List prices of {READ} before tax, on demand, for {self._dearest}{choice}, with disk and EMR's fee. "
            f"EMR's fee of {100 * EMR_FEE.known:g} %{disk} assumed.{spot} Requests to S3 are not included."
        )

    @property
    def _unpriced(self) -> list[str]:
        prices = {name: INSTANCES.get((self.region, name)) for name in self.instance_types}
        return [name for name, price in prices.items() if price is None or price.value is None]

    @property
    def _dearest(self) -> str:
        return max(self.instance_types, key=lambda name: INSTANCES[self.region, name].known)


def node_table() -> str:
    """Return the prices of instances and disks as a table in Markdown."""
    rows = [(region, price) for (region, _), price in INSTANCES.items()] + list(DISKS.items())
    lines = [
        f"| {region} | {price.unit} | {'unknown' if price.value is None else f'{price.value:g}'} | "
        f"{'assumed: ' if price.assumed else ''}{price.source} | {price.read} |"
        for region, price in sorted(rows, key=lambda row: list(DISKS).index(row[0]))
    ]
    return "\n".join(["| region | what | USD | from | read on |", "|---|---|---|---|---|", *lines])
