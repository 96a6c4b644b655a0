"""Measure the search for neighbours on one core: ``python -m benchmarks.search ours|faiss|cells COUNT``.

It prints the seconds, and for cells also the recall@10. Of the cells, it searches every tenth task.
"""

import sys
import time

import faiss
import numpy as np
from numpy.typing import NDArray

from spark_job.findings.search import PHOTOS_PER_TASK, K, cells_for
from spark_job.neighbours import Cells, Nearest, Vectors
from spark_job.pca import SEARCHED

_BLOCK = 4_000
_SHARE = 10
_CHECKED = 500


def vectors(count: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Return vectors like those of photos of fruit, and the group of each.

    The variance of their components decreases as 1/i^1.3, and groups of 60 are close together.
    """
    rng = np.random.default_rng(0)
    scale = (10 * np.arange(1, SEARCHED + 1) ** -0.65).astype(np.float32)
    centres = rng.standard_normal((-(-count // 60), SEARCHED), np.float32)
    groups = rng.integers(0, len(centres), count)
    found: Vectors = (centres[groups] + 0.7 * rng.standard_normal((count, SEARCHED), np.float32)) * scale
    return found, groups


def in_blocks(queries: Vectors, base: Vectors, own: NDArray[np.int64]) -> NDArray[np.int64]:
    """Search as a task does: the base comes block by block."""
    nearest = Nearest(queries, K + 1)
    for start in range(0, len(base), _BLOCK):
        nearest.add(base[start : start + _BLOCK], start, np.arange(len(queries)))
    return nearest.without(own)[0]


def in_cells(base: Vectors) -> tuple[float, float]:
    """Divide the base, and search some tasks of it. Return the seconds of all tasks, and the recall."""
    began = time.process_time()
    count, probes, stride = cells_for(len(base))
    cells = Cells.train(base[::stride], count, probes)
    cell_of = np.concatenate([cells.own(base[start : start + _BLOCK]) for start in range(0, len(base), _BLOCK)])
    dividing = time.process_time() - began
    base = base[np.argsort(cell_of, kind="stable")]
    starts = np.searchsorted(np.sort(cell_of), np.arange(count + 1))
    tasks = np.array_split(np.arange(count), -(-len(base) // PHOTOS_PER_TASK))[_SHARE // 2 :: _SHARE]
    began, rows, found = time.process_time(), [], []
    for task in tasks:
        own = np.arange(starts[task[0]], starts[task[-1] + 1])
        nearest = Nearest(base[own], K + 1)
        for cell, queries in cells.wanted(base[own]):
            nearest.add(base[starts[cell] : starts[cell + 1]], int(starts[cell]), queries)
        found.append(nearest.without(own)[0])
        rows.append(own)
    own, others = np.concatenate(rows), np.concatenate(found)
    searching = (time.process_time() - began) * len(base) / len(own)
    checked = np.random.default_rng(1).choice(len(own), _CHECKED, replace=False)
    exact = in_blocks(base[own[checked]], base, own[checked])
    recall = np.mean([len(set(a) & set(b)) for a, b in zip(exact, others[checked], strict=True)]) / K
    return dividing + searching, float(recall)


def main() -> None:
    """Make vectors, search, and print the seconds of one core, and the recall if it is not 1."""
    which, count = sys.argv[1], int(sys.argv[2])
    faiss.omp_set_num_threads(1)
    base, _ = vectors(count)
    if which == "cells":
        print(*in_cells(base))
        return
    began = time.process_time()
    if which == "faiss":
        faiss.knn(base, base, K + 1)
    else:
        in_blocks(base, base, np.arange(count))
    print(time.process_time() - began)


if __name__ == "__main__":
    main()
