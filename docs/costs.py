"""Estimates what a run costs in seven environments, with the prices and the formula of critical-review.md.

python -m docs.costs
python -m docs.costs --photos 250000 --speed 22
"""

import argparse
import functools
import math
from dataclasses import dataclass

from cdk_app.assumptions import PHOTOS_PER_SECOND, START_MINUTES
from cdk_app.prices import DISK_GB, DISKS, EMR_FEE, HOURS_PER_MONTH, INSTANCES, Price

REGION = "eu-west-3"
CORES = 4  # per worker, in every environment
MEMORY = 8  # GiB per worker for four tasks, Spark and the model; EMR Serverless bills it
PHOTO_BYTES = 100_000  # of the photos in the table of requests; with smaller ones, shards save more
SHARD_BYTES = 128 * 10**6
BYTES_PER_GET = 4 * 2**20  # of a shard, by a run
BYTES_PER_GET_OF_PACK = 8 * 2**20
GETS_PER_DIRECTORY = 4  # at most
WATTS = 23.2  # m7g.xlarge at full load, by Cloud Carbon Footprint's coefficients
OVERHEAD = 1.13  # electricity of a data centre divided by that of its machines (PUE), as AWS publishes it

_other = functools.partial(Price, read="2026-11-22")
PRICES = {
    "machine": INSTANCES[REGION, "m7g.xlarge"],
    "x86": _other(0.2234, "m7i-flex.xlarge, per hour", "the same (2xlarge / 2)"),
    "large": _other(3.0464, "m7g.16xlarge, per hour", "the same (2 x 8xlarge)"),
    "spot": _other(0.5, "spot, share of on-demand", "35 to 42 % for m7g.xlarge there, rounded up", assumed=True),
    "emr": EMR_FEE,
    "disk": DISKS[REGION],
    "serverless_core": _other(0.06318, "EMR Serverless, per vCPU-hour", "Paris, x86, PerfKitBenchmarker at 441d2f9"),
    "serverless_gb": _other(0.00689, "EMR Serverless, per GB-hour", "the same"),
    "sagemaker": _other(1.2, "SageMaker, multiple of EC2", "0.23 / 0.192 for m5.xlarge in Virginia", assumed=True),
    "dbu": _other(0.15, "DBU of Jobs Compute, Premium", "databrickspricing.pages.dev, April 2026", assumed=True),
    "dbus": _other(0.69, "DBUs per hour, for 4 vCPU", "from memory, for m5.xlarge; none found for m7g", assumed=True),
    "get": _other(0.00042, "1,000 GETs", "c3x.dev: 0.0004 in Virginia, plus 5 %", assumed=True),
    "list": _other(0.0053, "1,000 LISTs or PUTs", "c3x.dev: 0.005 in Virginia, plus 6 %", assumed=True),
}


@dataclass(frozen=True)
class Way:
    """An environment that can run the job.

    Attributes
    ----------
    name
        The name, as the table shows it.
    hour
        The price of a worker per hour.
    idle_hour
        The price per hour of the machine that computes nothing; 0 if there is none.
    start_minutes
        The time until all machines have started.
    workers
        The number of workers, if it cannot be chosen.
    """

    name: str
    hour: float
    idle_hour: float
    start_minutes: float
    workers: int | None = None


@dataclass(frozen=True)
class Estimate:
    """What a run needs: workers, hours from start to end, and US dollars for machines and for requests."""

    workers: int
    hours: float
    machines: float
    requests: float


def ways() -> list[Way]:
    """Return the environments with the prices above. The start times are assumptions."""
    price = {name: price.known for name, price in PRICES.items()}
    disk = DISK_GB * price["disk"] / HOURS_PER_MONTH
    emr = price["machine"] * price["emr"] + disk
    databricks = price["machine"] + price["dbus"] * price["dbu"] + disk
    serverless = CORES * price["serverless_core"] + MEMORY * price["serverless_gb"]
    node, spot_node = price["machine"] + emr, price["machine"] * price["spot"] + emr
    return [
        Way("EMR on EC2 (this project)", node, node, START_MINUTES),
        Way("EMR on EC2, workers on spot", spot_node, node, START_MINUTES),
        Way("EMR Serverless", serverless, serverless, 1.5),
        Way("Databricks, jobs cluster", databricks, databricks, 5),
        Way("SageMaker Batch Transform", price["x86"] * price["sagemaker"], 0, 5),
        Way("AWS Batch on spot", price["machine"] * price["spot"] + disk, 0, 4),
        Way("One machine of 64 cores", price["large"] / 16 + disk / 16, 0, 1.5, workers=16),
    ]


def estimate(way: Way, photos: int, speed: float, minutes: float = 30, most: int = 50) -> Estimate:
    """Return the time and the costs of a run.

    hours = start + photos / (speed x cores x workers), with the fewest workers that finish in time, and at least 2;
    machines = hours x (workers x price of a worker + price of the machine that computes nothing), for a minute or more;
    requests = one GET per photo and one LIST per 1,000 photos.

    Parameters
    ----------
    way
        One of :func:`ways`.
    photos
        The number of photos.
    speed
        Photos per second and core, averaged over all stages of a run.
    minutes
        The time in which the workers must finish, not counting their start.
    most
        The largest number of workers, even if they then need more time.
    """
    wanted = math.ceil(photos / (speed * CORES * minutes * 60))
    workers = way.workers or min(max(wanted, 2), most)
    hours = max(way.start_minutes / 60 + photos / (speed * CORES * workers) / 3600, 1 / 60)
    machines = hours * (workers * way.hour + way.idle_hour)
    return Estimate(workers, hours, machines, requests(photos)["a run on photos"].usd)


@dataclass(frozen=True)
class Requests:
    """Requests to S3, by price."""

    gets: float = 0
    lists_and_puts: float = 0

    @property
    def usd(self) -> float:
        """The price."""
        return (self.gets * PRICES["get"].known + self.lists_and_puts * PRICES["list"].known) / 1000


def requests(photos: int, size: int = PHOTO_BYTES) -> dict[str, Requests]:
    """Return the requests that photos of ``size`` bytes need, as objects and in shards.

    A run lists all objects, and reads each photo with a GET, or each shard in parts. ``fruits pack`` puts a shard, and
    reads it back; the next time, it reads the directories of all shards.
    """
    shards = math.ceil(photos * size / SHARD_BYTES)
    parts, packed = (math.ceil(photos * size / part) + shards for part in (BYTES_PER_GET, BYTES_PER_GET_OF_PACK))
    pages, shard_pages = math.ceil(photos / 1000), math.ceil(shards / 1000)
    return {
        "upload photos": Requests(0, photos),
        "a run on photos": Requests(photos, pages),
        "pack a local folder into a bucket": Requests(packed, shards + shard_pages),
        "pack a prefix of a bucket": Requests(photos + packed, pages + shards + shard_pages),
        "a run on shards": Requests(parts + shards, shard_pages),
        "pack the photos of a day": Requests(GETS_PER_DIRECTORY * shards, shard_pages + 1),
    }


def request_table(photos: list[int]) -> str:
    """Return the requests for several numbers of photos as a table in Markdown."""
    head = "".join(f" {count:,} photos |" for count in photos)
    columns = [requests(count) for count in photos]
    rows = [
        f"| {name} |" + "".join(f" {_thousands(one[name])}, {_dollars(one[name].usd)} |" for one in columns)
        for name in columns[0]
    ]
    return "\n".join([f"| |{head}", "|---|" + "---|" * len(photos), *rows])


def _thousands(one: Requests) -> str:
    return f"{one.gets + one.lists_and_puts:,.0f} requests"


def kilowatt_hours(run: Estimate, idle_machines: int = 1) -> float:
    """Return the electricity of a run if every machine is busy from start to end."""
    return run.hours * (run.workers + idle_machines) * WATTS * OVERHEAD / 1000


def price_table() -> str:
    """Return the prices as a table in Markdown."""
    rows = [
        f"| {price.unit} | {price.known:g} | {'assumed: ' if price.assumed else ''}{price.source} | {price.read} |"
        for price in PRICES.values()
    ]
    return "\n".join(["| what | USD, or ratio | from | read on |", "|---|---|---|---|", *rows])


def table(photos: list[int], speed: float) -> str:
    """Return the estimates for several numbers of photos as a table in Markdown."""
    head = "".join(f" {count:,} photos |" for count in photos)
    rows = [
        f"| {way.name} |" + "".join(f" {_cell(estimate(way, count, speed))} |" for count in photos) for way in ways()
    ]
    runs = [estimate(ways()[0], count, speed) for count in photos]
    requests = "".join(f" {_dollars(run.requests)} |" for run in runs)
    energy = "".join(f" {kilowatt_hours(run):.2g} kWh |" for run in runs)
    rule = "|---|" + "---|" * len(photos)
    extra = [f"| plus requests to S3, for each row |{requests}", f"| electricity, EMR on EC2 |{energy}"]
    return "\n".join([f"| |{head}", rule, *rows, *extra])


def _cell(run: Estimate) -> str:
    minutes = run.hours * 60
    time = f"{minutes:.0f} min" if minutes < 100 else f"{run.hours:.1f} h"
    return f"{time}, {_dollars(run.machines)}"


def _dollars(amount: float) -> str:
    return f"{amount:,.2f} USD" if amount < 100 else f"{amount:,.0f} USD"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, nargs="+", default=[10**4, 10**6, 10**8], help="default: %(default)s")
    parser.add_argument(
        "--speed", type=float, default=PHOTOS_PER_SECOND, help="photos per second and core (default: %(default)s)"
    )
    options = parser.parse_args()
    print(price_table(), table(options.photos, options.speed), request_table(options.photos), sep="\n\n")


if __name__ == "__main__":
    main()
