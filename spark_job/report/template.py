"""The Jinja templates of this package and the filters that they use."""

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

from spark_job.duration import duration
from spark_job.report.text import moment, share

if TYPE_CHECKING:  # commands that print no page start without it
    from jinja2 import Environment


def render_template(name: str, **content: Any) -> str:
    """Return the page that a template of this package makes from its content."""
    return environment().get_template(name).render(content)


@cache
def environment() -> "Environment":
    """Return the Jinja environment; it finds the templates in a folder as well as in a zip."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("spark_job.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "count": "{:,}".format,
        "share": share,
        "duration": duration,
        "moment": moment,
        "data_uri": lambda jpeg: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "python": repr,
        "sql": lambda text: "'" + text.replace("'", "''") + "'",
        "units": lambda number: f"{number:.1f}".removesuffix(".0"),
    }
    return made
