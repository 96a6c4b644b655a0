"""Finds the photos of a published run that look most like one photo. It needs no Spark."""

import dataclasses
import heapq
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spark_job import archives, pipeline, runs
from spark_job.archives import Photos
from spark_job.errors import UserError
from spark_job.manifest import Manifest
from spark_job.network import MOBILENET_V2, Network
from spark_job.network.images import check_size, decode, thumbnail_if_possible
from spark_job.network.model import CompiledNetwork, extractor
from spark_job.network.weights import load
from spark_job.rejection import RejectedPhotoError
from spark_job.report.template import render_template
from spark_job.report.text import in_one_line, label_name
from spark_job.storage import open_store
from spark_job.tables import Table, matrix

_READERS = 8
_PICTURE_SIDE = 192


@dataclass(frozen=True)
class Neighbour:
    """A photo of the run, and its Euclidean distance from the given photo, measured on the run's components."""

    path: str
    label: str | None
    distance: float


@dataclass(frozen=True)
class Found:
    """The result of a search; ``neighbours`` has the nearest first."""

    photo: str
    run: Manifest
    neighbours: list[Neighbour]

    @property
    def vote(self) -> tuple[str, int]:
        """The label that most neighbours have, and how many have it. In a draw, the label of the nearest wins."""
        return Counter(label_name(neighbour.label) for neighbour in self.neighbours).most_common(1)[0]

    def to_json(self) -> str:
        """Return the result as indented JSON."""
        about = {"photo": self.photo, "run": self.run.run_id, "weights": self.run.model.weights}
        neighbours = [dataclasses.asdict(neighbour) for neighbour in self.neighbours]
        return json.dumps(about | {"neighbours": neighbours}, indent=2, ensure_ascii=False)


def search(photo: str, run: str, weights: str | None = None, k: int = 5, network: Network = MOBILENET_V2) -> Found:
    """Return the photos of a run that are nearest to a photo.

    Parameters
    ----------
    photo
        The path or URI of a photo.
    run
        An output, for its latest run, or the folder of one run.
    weights
        As in :func:`spark_job.network.weights.load`; by default the weights that the manifest names.
    k
        The number of photos to return.
    network
        The network that made the run's features.

    Raises
    ------
    UserError
        If the photo or the run cannot be read, or if another network made the run's features.
    """
    if k < 1:
        raise UserError(f"k is {k}. Give the number of photos to find, at least 1.")
    folder, manifest = runs.find(run)
    pixels = decode_photo(photo, network.side)
    model = _load_model(weights, network, manifest)
    table = Table(folder.uri, runs.PCA)
    try:
        query = pipeline.load(folder, runs.MODEL).project(extractor(model)([pixels]))[0]
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(partial(_nearest_in_file, table, query, k), table.names()))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The run in {folder.uri} is not complete: {error}.") from error
    nearest_of_all = heapq.nsmallest(k, chain.from_iterable(found), key=lambda neighbour: neighbour.distance)
    return Found(photo, manifest, nearest_of_all)


def decode_photo(photo: str, side: int) -> NDArray[np.uint8]:
    """Return the pixels of the photo at a path or URI, shape (side, side, 3); UserError if it cannot be used."""
    try:
        return decode(_read(*_locate(photo)), side)
    except OSError as error:
        raise UserError(f"The photo {photo} cannot be read: {error.strerror or error}.") from error
    except RejectedPhotoError as error:
        raise UserError(f"The photo {photo} cannot be used: {error}.") from error


def _locate(photo: str) -> tuple[Photos, str]:
    """Return where the photo at a path or URI is, and its path there."""
    start = archives.start_of_path(photo)
    return Photos(open_store(photo[:start] or ".")), photo[start:]


def _read(source: Photos, path: str) -> bytes:
    return source.read(path, check_size).data


def _load_model(weights: str | None, network: Network, manifest: Manifest) -> CompiledNetwork:
    """Return the model that made the run's features; UserError if it cannot be loaded or is another one."""
    made_by = manifest.model
    if made_by.preprocessing != network.preprocessing:
        raise UserError(
            f"Another version of this program made the run {manifest.run_id}, and it prepared photos differently "
            f"({made_by.preprocessing}). Run again with this version."
        )
    try:
        model = load(weights or made_by.weights, made_by.engine, network)
    except UserError as error:
        if weights:
            raise
        raise UserError(
            f"The run {manifest.run_id} was made with the weights {made_by.weights}, and they are not here ({error}) "
            "Give the place of these weights, or of the model compiled from them, with --weights."
        ) from error
    if model.digest != made_by.digest:
        raise UserError(
            f"The model {weights or made_by.weights} is not the one that made the run {manifest.run_id} "
            f"({made_by.weights} on {made_by.engine}). Give the weights of that run with --weights."
        )
    return model


def _nearest_in_file(table: Table, query: NDArray[np.float32], k: int, name: str) -> list[Neighbour]:
    found: list[Neighbour] = []
    for batch in table.read(name):
        rows, distances = nearest(query, matrix(batch.column("pca")), k)
        photos = batch.select(["path", "label"]).take(pa.array(rows)).to_pylist()
        found += [Neighbour(**photo, distance=float(far)) for photo, far in zip(photos, distances, strict=True)]
    return heapq.nsmallest(k, found, key=lambda neighbour: neighbour.distance)


def nearest(query: NDArray[Any], vectors: NDArray[Any], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows that are nearest to a query, the nearest first.

    Parameters
    ----------
    query
        Shape (d,).
    vectors
        Shape (n, d).
    k
        The number of rows to return; all n if there are fewer.

    Returns
    -------
    tuple of ndarray
        Indices and Euclidean distances, each of shape (min(k, n),). Equal distances keep the order of the rows.
    """
    # For one query, numpy takes less time than the import of faiss.
    distances = np.linalg.norm(vectors - query, axis=1).astype(np.float64)
    rows = np.argsort(distances, kind="stable")[:k]
    return rows, distances[rows]


def text(found: Found) -> str:
    """Return the result for a terminal, one line per photo."""
    label, votes = found.vote
    lines = [
        f"{'run':<10}{found.run.run_id}",
        f"{'label':<10}{in_one_line(label)} ({votes} of {len(found.neighbours)})",
    ]
    names = [in_one_line(label_name(neighbour.label)) for neighbour in found.neighbours]
    width = max(map(len, names))
    for heading, name, neighbour in zip(chain(["nearest"], repeat("")), names, found.neighbours, strict=False):
        lines.append(f"{heading:<10}{neighbour.distance:<9.2f}{name:<{width}}  {in_one_line(neighbour.path)}")
    if found.run.model.meaningless:
        lines.append(f"{'weights':<10}random: the distances mean nothing")
    return "\n".join(lines)


def page(found: Found) -> str:
    """Return the result as one HTML page that loads nothing. A photo that is gone is shown as an empty frame."""
    source = Photos(open_store(found.run.input))
    places = [_locate(found.photo), *((source, neighbour.path) for neighbour in found.neighbours)]
    picture, *pictures = [thumbnail_if_possible(partial(_read, *place), _PICTURE_SIDE) for place in places]
    return render_template(
        "similar.html.j2",
        found=found,
        picture=picture,
        neighbours=list(zip(found.neighbours, pictures, strict=True)),
    )
