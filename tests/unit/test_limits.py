"""Photos take limited memory and time: the job checks their headers, and the tests measure both."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_job.network.images import decode
from spark_job.network.limits import MAX_PARTS, MAX_PIXELS, MAX_SCANS, LimitError, check_chunks, in_one_scan
from tests.hostile import chunk, encoded, picture, png, scan_bomb


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_the_header_shows_whether_a_jpeg_has_one_scan(mode: str) -> None:
    assert in_one_scan(encoded(picture(mode), "JPEG"))
    assert in_one_scan(b"\xff\xd8" + b"\xff" * 9 + b"\xff\x01" + encoded(picture(mode), "JPEG", comment=b"x" * 999)[2:])
    assert not in_one_scan(encoded(picture(mode), "JPEG", progressive=True))


def test_one_scan_per_component_is_not_one_scan() -> None:
    """libjpeg keeps all of such a photo in memory, although the photo is not progressive."""
    jpeg = bytearray(encoded(picture("RGB"), "JPEG"))
    at = jpeg.index(b"\xff\xda")
    jpeg[at + 4] = 1
    assert not in_one_scan(bytes(jpeg))


def test_parts_and_scans_are_counted() -> None:
    jpeg, progressive = encoded(picture(), "JPEG"), encoded(picture(), "JPEG", progressive=True)
    assert in_one_scan(jpeg[:2] + b"\xff\xe5\0\2" * 1000 + jpeg[2:])
    with pytest.raises(LimitError, match="parts"):
        in_one_scan(jpeg[:2] + b"\xff\xe5\0\2" * MAX_PARTS + jpeg[2:])
    with pytest.raises(LimitError, match="parts"):
        in_one_scan(b"\xff" * (MAX_PARTS + 99))
    with pytest.raises(LimitError, match=f"scans; the limit is {MAX_SCANS}"):
        in_one_scan(progressive + b"\xff\xda" * MAX_SCANS)
    check_chunks(png(9, 9, chunk(b"abCd", b"") * 1000))
    with pytest.raises(LimitError, match="chunks"):
        check_chunks(png(9, 9, chunk(b"abCd", b"") * MAX_PARTS))


@given(st.binary(max_size=200))
def test_any_bytes_can_be_checked(tail: bytes) -> None:
    in_one_scan(b"\xff\xd8\xff" + tail)
    check_chunks(b"\x89PNG\r\n\x1a\n" + tail)


def test_the_most_expensive_progressive_photo_takes_seconds() -> None:
    """The photo has as many scans and as many pixels as allowed. Its scans are empty, so the file is small."""
    bomb = scan_bomb(int(MAX_PIXELS["JPEG in several scans"] ** 0.5), MAX_SCANS)
    assert len(bomb) < 250_000
    began = time.thread_time()
    decode(bomb, 224)
    assert time.thread_time() - began < 20


PEAK = """
import sys
from spark_job.network.images import decode
from spark_job.rejection import RejectedPhotoError
from tests.hostile import encoded, picture
decode(encoded(picture(), "JPEG"), 224), decode(encoded(picture(), "WEBP"), 224)
data = open(sys.argv[1], "rb").read()
open("/proc/self/clear_refs", "w").write("5")
def peak(): return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
before = peak()
try:
    decode(data, 224)
    print("decoded", peak() - before)
except RejectedPhotoError as error:
    print(error.reason.replace(" ", "-"), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the test reads the peak memory of a process from Linux's /proc"
)
@pytest.mark.parametrize(
    ("kind", "options", "size", "outcome"),
    [
        ("JPEG RGB", {}, (4000, 3000), "decoded"),
        ("JPEG RGB", {}, (16_320, 12_240), "decoded"),  # the largest photo that phones take
        ("JPEG RGB", {"progressive": True}, (8192, 6144), "decoded"),
        ("JPEG RGB", {"progressive": True, "subsampling": 0}, (11_600, 8_700), "too-large"),
        ("PNG RGBA", {"compress_level": 1}, (8192, 6144), "decoded"),
        ("PNG LA", {"compress_level": 1}, (8192, 6144), "decoded"),
        ("PNG P", {"compress_level": 1}, (11_600, 8_700), "too-large"),
        ("WEBP RGB", {"method": 0}, (7680, 4320), "decoded"),
        ("WEBP RGB", {"method": 0}, (11_600, 8_700), "too-large"),
    ],
)
def test_a_photo_takes_at_most_half_a_gigabyte(
    tmp_path: Path, kind: str, options: dict[str, int], size: tuple[int, int], outcome: str
) -> None:
    kind, mode = kind.split()
    file = tmp_path / "large"
    coarse = picture(size=(size[0] // 40, size[1] // 40)).convert(mode)
    file.write_bytes(encoded(coarse.resize(size, 0), kind, **options))
    done = subprocess.run([sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True)
    actual, megabytes = done.stdout.split()
    assert actual == outcome
    assert int(megabytes) < (560 if outcome == "decoded" else 60)
