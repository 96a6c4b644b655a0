"""Measure the search for neighbours on one core: ``python -m benchmarks.search ours|faiss|cells COUNT``.

It prints the seconds, and for cells also the recall@10. The vectors are like those of photos of fruit: 128 components
whose variance decreases as 1/i^1.3, and photos in groups of 60 that are close together.
"""

import resource
import sys
import time

import faiss
import numpy as np

from spark_job.findings.search import K, cells_for
from spark_job.neighbours import Cells, Nearest, Vectors

_BLOCK = 4_000
_CHECKED = 500


def vectors(count: int) -> Vectors:
    """Return vectors like those of photos."""
    rng = np.random.default_rng(0)
    scale = (10 * np.arange(1, 129) ** -0.65).astype(np.float32)
    centres = rng.standard_normal((-(-count // 60), 128), np.float32)
    found: Vectors = (
        centres[rng.integers(0, len(centres), count)] + 0.7 * rng.standard_normal((count, 128), np.float32)
    ) * scale
    return found


def in_blocks(queries: Vectors, base: Vectors) -> Nearest:
    """Search as a task does: the base comes block by block."""
    nearest = Nearest(queries, K + 1)
    for start in range(0, len(base), _BLOCK):
        nearest.add(base[start : start + _BLOCK], start)
    return nearest


def in_cells(base: Vectors) -> tuple[Nearest, float]:
    """Search in cells, one cell of queries after the other. Return the result, and how long it took."""
    began = time.process_time()
    count, probes, stride = cells_for(len(base))
    cells = Cells.train(base[::stride], count, probes)
    own = np.concatenate([cells.own(base[start : start + _BLOCK]) for start in range(0, len(base), _BLOCK)])
    order = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[order], np.arange(count + 1))
    members = [base[order[starts[cell] : starts[cell + 1]]] for cell in range(count)]
    nearest = Nearest(base, K + 1)
    for cell in range(count):
        part = Nearest(members[cell], K + 1)
        for other, queries in cells.wanted(members[cell]) if len(members[cell]) else ():
            part.add(members[other], int(starts[other]), queries)
        rows = order[starts[cell] : starts[cell + 1]]
        nearest.rows[rows], nearest.squares[rows] = np.where(part.rows < 0, -1, order[part.rows]), part.squares
    return nearest, time.process_time() - began


def main() -> None:
    """Make vectors, search, and print the seconds of one core, the recall if it is not 1, and the memory in MB."""
    which, count = sys.argv[1], int(sys.argv[2])
    faiss.omp_set_num_threads(1)
    base = vectors(count)
    began = time.process_time()
    if which == "faiss":
        faiss.knn(base, base, K + 1)
        print(time.process_time() - began)
    elif which == "ours":
        in_blocks(base, base)
        print(time.process_time() - began)
    else:
        found, seconds = in_cells(base)
        checked = np.random.default_rng(1).choice(count, _CHECKED, replace=False)
        exact = in_blocks(base[checked], base)
        recall = np.mean([len(set(a) & set(b)) for a, b in zip(exact.rows, found.rows[checked], strict=True)]) / (K + 1)
        print(seconds, recall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
