"""Mutate photos and decode them, or zip files and read them: ``python -m benchmarks.fuzz --inputs 100000``.

For any bytes, :func:`spark_job.network.images.decode` must return pixels or raise RejectedPhotoError within
seconds. With ``--archives``, each photo of any zip file must be read or rejected. Any other exception, a slow
input, a hang or a crash of the process is a finding. The inputs of exceptions and the slow inputs are saved in the
folder ``--findings``.
"""

import argparse
import faulthandler
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from spark_job.features import Photo, read_ahead
from spark_job.network.images import decode, thumbnail
from spark_job.plan import in_archives
from spark_job.rejection import RejectedPhotoError
from spark_job.storage import open_store
from tests import hostile, hostile_archives

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xC0, 0xC2, 0xD8, 0xD9, 0xDA, 0xDB, 0xE1, 0xFE, 0xFF)
SLOW_SECONDS = 5.0
LARGEST = 60_000


def main() -> None:
    """Decode the mutated photos and print how often each outcome occurred."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="default: %(default)s")
    parser.add_argument("--archives", action="store_true", help="mutate zip files instead of photos")
    options = parser.parse_args()
    faulthandler.enable()
    rng = random.Random(options.seed)
    corpus = hostile_archives.corpus() if options.archives else hostile.corpus()
    seeds = [file.data for file in corpus if 0 < len(file.data) < LARGEST]
    ends: Counter[str] = Counter()
    slowest, began = 0.0, time.monotonic()
    for number in range(options.inputs):
        data = _mutated(rng, seeds)
        started = time.monotonic()
        end = _end_of_archive(data) if options.archives else _end(data, with_thumbnail=number % 10 == 0)
        slowest = max(slowest, took := time.monotonic() - started)
        ends[end] += 1
        if end.startswith("!") or took > SLOW_SECONDS:
            options.findings.mkdir(exist_ok=True)
            (options.findings / f"{options.seed}-{number}").write_bytes(data)
            print(f"{number}: {end} after {took:.1f} s, {len(data):,} bytes", flush=True)
    seconds = time.monotonic() - began
    print(f"{options.inputs:,} inputs from {len(seeds)} files in {seconds:.0f} s, the slowest {slowest:.2f} s")
    for end, count in ends.most_common():
        print(f"{count:8,} {end}")


def _end(data: bytes, with_thumbnail: bool) -> str:
    try:
        assert decode(data, 224).shape == (224, 224, 3)
        if with_thumbnail:
            assert thumbnail(data).startswith(b"\xff\xd8")
    except RejectedPhotoError as error:
        return error.reason.value if error.detail else "! rejected without a detail"
    except Exception as error:
        return f"! {type(error).__name__}: {error}"
    return "decoded"


def _end_of_archive(data: bytes) -> str:
    """Read a zip file as a run does."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        (Path(folder) / "x.zip").write_bytes(data)
        store = open_store(folder)
        listed = [row for page in store.listing(None) for row in page.to_pylist()]
        try:
            photos = [Photo.of_row(row) for page in in_archives(store, listed) for row in page.photos.to_pylist()]
            contents = [read.content for read in read_ahead(pool, store, iter(photos))]
            assert len(contents) == len(photos)
        except Exception as error:
            return f"! {type(error).__name__}: {error}"
    if not contents:
        return "no photo"
    if len(contents) == 1 and photos[0].path == "x.zip":
        return "rejected as a whole"
    return "all read" if all(isinstance(content, bytes) for content in contents) else "some rejected"


def _mutated(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Return a file in which a few pieces are replaced by others, often in its header, which matters most."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(1 + (min(len(data), 200) if rng.random() < 0.5 else len(data)))
        end = at + rng.choice((0, 1, 1, 1, 2, 4, 4, 30, 300))
        number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, rng.randrange(2**32)))
        other = rng.choice(seeds)
        data[at:end] = rng.choice(
            (
                bytes(byte ^ 1 << rng.randrange(8) for byte in data[at:end]),
                bytes(rng.choice(INTERESTING) for _ in data[at:end]),
                number.to_bytes(4, rng.choice(("big", "little"))),
                rng.randbytes(rng.choice((0, end - at))),
                data[at : at + 64] * rng.choice((1, 2, 20)),
                other[rng.randrange(len(other)) :][: rng.choice((0, 64, LARGEST))],
            )
        )
    return bytes(data[:LARGEST])


if __name__ == "__main__":
    main()
