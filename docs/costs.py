"""What the features of many photos cost on six kinds of machine: the prices and the formula of critical-review.md.

python docs/costs.py
python docs/costs.py --photos 250000 --speed 22
"""

import argparse
import math
from dataclasses import dataclass

CORES = 4  # of a worker, on all of them
MEMORY = 8  # GiB that four tasks, Spark and the network take; what EMR Serverless bills
WATTS = 23.2  # m7g.xlarge at full load, by Cloud Carbon Footprint's coefficients
OVERHEAD = 1.13  # a data centre's electricity over that of its machines (PUE), AWS's own figure


@dataclass(frozen=True)
class Price:
    """A price in US dollars, before tax, and where it is from; ``assumed`` where no page for the region was found."""

    value: float
    unit: str
    source: str
    assumed: bool = False


PRICES = {
    "machine": Price(0.1904, "m7g.xlarge, an hour", "Paris, SkyPilot catalogue v8 at 00148f2 (2 x large)"),
    "x86": Price(0.2234, "m7i-flex.xlarge, an hour", "the same (2xlarge / 2)"),
    "large": Price(3.0464, "m7g.16xlarge, an hour", "the same (2 x 8xlarge)"),
    "spot": Price(0.5, "spot, of the on-demand price", "m7g's sizes were at 40 to 52 % there", assumed=True),
    "emr": Price(0.25, "EMR's fee, of the on-demand price", "0.048 on an m5.xlarge of 0.192 in Virginia", assumed=True),
    "disk": Price(0.093, "gp3, a GB and month", "0.08 in Virginia, and Paris's 16 % on top", assumed=True),
    "serverless_core": Price(0.06318, "EMR Serverless, a vCPU-hour", "Paris, x86, PerfKitBenchmarker at 441d2f9"),
    "serverless_gb": Price(0.00689, "EMR Serverless, a GB-hour", "the same"),
    "sagemaker": Price(1.2, "SageMaker, times the machine's price", "ml.m5.xlarge 0.23 on 0.192 there", assumed=True),
    "dbu": Price(0.15, "a DBU of Jobs Compute, Premium", "databrickspricing.pages.dev, April 2026", assumed=True),
    "dbus": Price(0.69, "DBUs an hour of 4 vCPU", "from memory, for m5.xlarge; m7g was not found", assumed=True),
    "get": Price(0.00042, "1,000 GETs", "c3x.dev: 0.0004 in Virginia; and 5 % on top", assumed=True),
    "list": Price(0.0053, "1,000 LISTs", "c3x.dev: 0.005 in Virginia; and 6 % on top", assumed=True),
}


@dataclass(frozen=True)
class Way:
    """A way to run the job: what a worker costs an hour, how many machines compute nothing, how long until all are up.

    ``workers`` is how many there are where that is not free to choose.
    """

    name: str
    hour: float
    idle_hour: float
    start_minutes: float
    workers: int | None = None


@dataclass(frozen=True)
class Estimate:
    """What a run takes: machines that compute, hours from start to end, US dollars for machines and for requests."""

    workers: int
    hours: float
    machines: float
    requests: float


def ways() -> list[Way]:
    """Return the ways, at the prices above; the minutes to start are assumptions."""
    price = {name: price.value for name, price in PRICES.items()}
    disk = 64 * price["disk"] / 730
    emr = price["machine"] * price["emr"] + disk
    databricks = price["machine"] + price["dbus"] * price["dbu"] + disk
    serverless = CORES * price["serverless_core"] + MEMORY * price["serverless_gb"]
    node, spot_node = price["machine"] + emr, price["machine"] * price["spot"] + emr
    return [
        Way("EMR on EC2 (this project)", node, node, 7),
        Way("EMR on EC2, workers on spot", spot_node, node, 7),
        Way("EMR Serverless", serverless, serverless, 1.5),
        Way("Databricks, jobs cluster", databricks, databricks, 5),
        Way("SageMaker Batch Transform", price["x86"] * price["sagemaker"], 0, 5),
        Way("AWS Batch on spot", price["machine"] * price["spot"] + disk, 0, 4),
        Way("One machine of 64 cores", price["large"] / 16 + disk / 16, 0, 1.5, workers=16),
    ]


def estimate(way: Way, photos: int, speed: float, minutes: float = 30, most: int = 50) -> Estimate:
    """Return what a run of a way takes.

    hours = start + photos / (speed x cores x workers), with as few workers as compute in the wanted time;
    machines = hours x (workers x price of a worker + price of what computes nothing), a minute at least;
    requests = one GET a photo, one LIST a thousand.

    Parameters
    ----------
    way
        One of :func:`ways`.
    photos
        How many.
    speed
        Photos a second and core, all stages of a run in it.
    minutes
        How long the computing may take, if that many workers are allowed.
    most
        How many workers are allowed.
    """
    wanted = math.ceil(photos / (speed * CORES * minutes * 60))
    workers = way.workers or min(max(wanted, 2), most)
    hours = max(way.start_minutes / 60 + photos / (speed * CORES * workers) / 3600, 1 / 60)
    requests = photos / 1000 * PRICES["get"].value + photos / 1_000_000 * PRICES["list"].value
    return Estimate(workers, hours, hours * (workers * way.hour + way.idle_hour), requests)


def kilowatt_hours(run: Estimate, idle_machines: int = 1) -> float:
    """Return the electricity of a run, as if every machine were busy from its start to its end."""
    return run.hours * (run.workers + idle_machines) * WATTS * OVERHEAD / 1000


def price_table() -> str:
    """Return the prices in Markdown."""
    rows = [
        f"| {price.unit} | {price.value:g} | {'assumed: ' if price.assumed else ''}{price.source} |"
        for price in PRICES.values()
    ]
    return "\n".join(["| what | USD, or ratio | from |", "|---|---|---|", *rows])


def table(photos: list[int], speed: float) -> str:
    """Return what each way takes for some numbers of photos, in Markdown."""
    head = "".join(f" {count:,} photos |" for count in photos)
    rows = [
        f"| {way.name} |" + "".join(f" {_cell(estimate(way, count, speed))} |" for count in photos) for way in ways()
    ]
    runs = [estimate(ways()[0], count, speed) for count in photos]
    requests = "".join(f" {_dollars(run.requests)} |" for run in runs)
    energy = "".join(f" {kilowatt_hours(run):.2g} kWh |" for run in runs)
    rule = "|---|" + "---|" * len(photos)
    extra = [f"| and requests to S3, any of them |{requests}", f"| electricity, EMR on EC2 |{energy}"]
    return "\n".join([f"| |{head}", rule, *rows, *extra])


def _cell(run: Estimate) -> str:
    minutes = run.hours * 60
    time = f"{minutes:.0f} min" if minutes < 100 else f"{run.hours:.1f} h"
    return f"{time}, {_dollars(run.machines)}"


def _dollars(amount: float) -> str:
    return f"{amount:,.2f} USD" if amount < 100 else f"{amount:,.0f} USD"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--photos", type=int, nargs="+", default=[10**4, 10**6, 10**8], help="default: %(default)s")
    parser.add_argument("--speed", type=float, default=90.0, help="photos a second and core (default: %(default)s)")
    options = parser.parse_args()
    print(price_table(), table(options.photos, options.speed), sep="\n\n")


if __name__ == "__main__":
    main()
