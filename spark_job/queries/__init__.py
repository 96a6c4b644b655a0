"""The questions that people ask most, in SQL that Athena and DuckDB both understand, one file per question."""

import re
from dataclasses import dataclass
from pathlib import Path

_PARAMETER = re.compile(r"\$(\w+)")


@dataclass(frozen=True)
class Query:
    """A question: its name, the question in words, and its SQL with parameters such as ``$run_id``."""

    name: str
    question: str
    sql: str

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, in the order in which Athena asks for their values."""
        return _PARAMETER.findall(self.sql)

    @property
    def athena(self) -> str:
        """The SQL for Athena, whose parameters have no names."""
        return _PARAMETER.sub("?", self.sql)


def load() -> dict[str, Query]:
    """Return all questions by name."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.sql")):
        question, _, sql = file.read_text().partition("\n")
        found[file.stem] = Query(file.stem, question.removeprefix("-- "), sql.rstrip())
    return found
