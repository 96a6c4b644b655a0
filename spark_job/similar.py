"""The photos of a published run that look most like one photo, without Spark."""

import base64
import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spark_job import publish, weights
from spark_job.errors import UserError
from spark_job.images import PREPROCESSING, RejectedImageError, check_size, decode, thumbnail
from spark_job.manifest import Manifest
from spark_job.model import Model, extractor
from spark_job.moments import Components
from spark_job.neighbours import nearest
from spark_job.objects import Store
from spark_job.report.template import render_template
from spark_job.report.text import NO_LABEL
from spark_job.store import open_store

_READERS = 8
_PICTURE_SIDE = 192


@dataclass(frozen=True)
class Neighbour:
    """A photo of the run, and its Euclidean distance from the one asked about, on the run's components."""

    path: str
    label: str | None
    distance: float


@dataclass(frozen=True)
class Found:
    """What a search found: ``neighbours`` has the nearest first."""

    photo: str
    run: Manifest
    neighbours: list[Neighbour]

    @property
    def vote(self) -> tuple[str, int]:
        """The label of most neighbours, and of how many; between equals, that of the nearer."""
        return Counter(neighbour.label or NO_LABEL for neighbour in self.neighbours).most_common(1)[0]

    def to_json(self) -> str:
        """Return what was found as indented JSON."""
        said = {"photo": self.photo, "run": self.run.run_id, "weights": self.run.model.weights}
        neighbours = [dataclasses.asdict(neighbour) for neighbour in self.neighbours]
        return json.dumps(said | {"neighbours": neighbours}, indent=2, ensure_ascii=False)


def search(photo: str, run: str, network: str | None = None, k: int = 5) -> Found:
    """Return the photos of a run that are nearest to a photo.

    Parameters
    ----------
    photo
        The path or URI of an image.
    run
        An output, whose latest run is searched, or the folder of one run.
    network
        Weights, as :func:`spark_job.weights.load` takes them; by default those that the manifest names.
    k
        How many.

    Raises
    ------
    UserError
        If the photo or the run cannot be read, or if the run's features are another network's.
    """
    if k < 1:
        raise UserError(f"k is {k}; give how many photos to find, at least 1.")
    folder, manifest = find_run(run)
    pixels = decode_photo(photo)
    model = _same_network(network or manifest.model.weights, manifest)
    try:
        query = read_components(folder).project(extractor(model)(pixels[np.newaxis]))[0]
        with ThreadPoolExecutor(_READERS) as pool:
            parts = list(pool.map(partial(_nearest_of_part, folder, query, k), _parts(folder, "pca")))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"The run in {folder.uri} is not whole: {error}.") from error
    nearest_of_all = heapq.nsmallest(k, chain.from_iterable(parts), key=lambda neighbour: neighbour.distance)
    return Found(photo, manifest, nearest_of_all)


def find_run(uri: str) -> tuple[Store, Manifest]:
    """Return the folder and the manifest of the run that a person means by a URI; UserError where there is none."""
    store = open_store(uri)
    if latest := publish.latest(store):
        return open_store(f"{store.uri}/runs/{latest.run_id}"), latest
    try:
        return store, Manifest.from_json(store.read("manifest.json").data)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"There is no published run in {uri}; give the output of a run, or a folder with a manifest.json."
        ) from error


def decode_photo(photo: str) -> NDArray[np.uint8]:
    """Return the pixels of the photo at a path or URI, shape (224, 224, 3); UserError where there are none."""
    try:
        return decode(_read(photo))
    except OSError as error:
        raise UserError(f"The photo {photo} cannot be read: {error.strerror or error}.") from error
    except RejectedImageError as error:
        raise UserError(f"The photo {photo} cannot be used: {error}.") from error


def _read(photo: str) -> bytes:
    folder, slash, name = photo.rpartition("/")
    return open_store(folder or slash or ".").read(name, check_size).data


def _same_network(name: str, manifest: Manifest) -> Model:
    made = manifest.model
    if made.preprocessing != PREPROCESSING:
        raise UserError(
            f"The run {manifest.run_id} was made by a version that prepares photos in another way "
            f"({made.preprocessing}); run again with this one."
        )
    model = weights.load(name, made.engine)
    if model.digest != made.digest:
        raise UserError(
            f"The network of {name} is not the one that made the run {manifest.run_id} "
            f"({made.weights} on {made.engine}); give --weights what the run was made with."
        )
    return model


def read_components(folder: Store) -> Components:
    """Return the components that a run saved as a Spark ``PipelineModel``: a scaler that centres, and a rotation."""
    centre = _only_row(folder, "model/stages/0_centre/data")
    rotation = _only_row(folder, "model/stages/1_pca/data")
    axes = rotation["pc"]
    return Components(
        mean=np.array(centre["mean"]["values"]),
        scale=np.array(centre["std"]["values"]),
        axes=np.reshape(axes["values"], (axes["numRows"], axes["numCols"]), order="C" if axes["isTransposed"] else "F"),
        ratio=np.array(rotation["explainedVariance"]["values"]),
    )


def _only_row(folder: Store, part: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = [row for path in _parts(folder, part) for row in _table(folder, path).to_pylist()]
    if len(rows) != 1:
        raise FileNotFoundError(f"{part} holds no model")
    return rows[0]


def _parts(folder: Store, part: str) -> Iterator[str]:
    """Yield the paths of a table's Parquet files; what begins with a dot is Spark's own."""
    for listed in folder.listing(part):
        for path in listed.column("path").to_pylist():
            if path.endswith(".parquet") and not path.rpartition("/")[2].startswith("."):
                yield path


def _table(folder: Store, path: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(folder.read(path).data))


def _nearest_of_part(folder: Store, query: NDArray[np.float32], k: int, path: str) -> list[Neighbour]:
    table = _table(folder, path)
    if not table.num_rows:
        return []
    vectors = table["pca"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    rows, distances = nearest(query, vectors, k)
    chosen = table.select(["path", "label"]).take(rows).to_pylist()
    return [Neighbour(row["path"], row["label"], float(far)) for row, far in zip(chosen, distances, strict=True)]


def text(found: Found) -> str:
    """Return what was found for a terminal, a line a photo."""
    label, votes = found.vote
    lines = [f"{'run':<10}{found.run.run_id}", f"{'label':<10}{label} ({votes} of {len(found.neighbours)})"]
    names = [neighbour.label or NO_LABEL for neighbour in found.neighbours]
    width = max(map(len, names))
    for heading, name, neighbour in zip(chain(["nearest"], repeat("")), names, found.neighbours, strict=False):
        lines.append(f"{heading:<10}{neighbour.distance:<9.2f}{name:<{width}}  {neighbour.path}")
    if found.run.model.meaningless:
        lines.append(f"{'weights':<10}random: the distances mean nothing")
    return "\n".join(lines)


def page(found: Found) -> str:
    """Return what was found as one HTML page that loads nothing; a photo that has gone is an empty frame."""
    source = open_store(found.run.input)
    pictures = [_picture(f"{source.uri}/{neighbour.path}") for neighbour in found.neighbours]
    return render_template(
        "similar.html.j2",
        found=found,
        picture=_picture(found.photo),
        neighbours=list(zip(found.neighbours, pictures, strict=True)),
    )


def _picture(photo: str) -> str | None:
    try:
        return "data:image/jpeg;base64," + base64.b64encode(thumbnail(_read(photo), _PICTURE_SIDE)).decode()
    except (OSError, RejectedImageError):
        return None
