import re

from tests.cloud import faults
from tests.infra.golden import check_text
from tests.local_aws.emulator import ROOT


def test_the_page_shows_the_matrix_as_it_is_tested() -> None:
    page = ROOT / "docs" / "reliability.md"
    table = re.compile(r"(?<=## Faults in the cloud\n\n)(.*?\n\n)?(\|.*?\n)(?=\n|\Z)", re.DOTALL)
    text = page.read_text()
    assert table.search(text), "the page has no table under Faults in the cloud"
    check_text(page, table.sub(lambda found: (found[1] or "") + faults.as_markdown(), text))
