import re

from cdk_app.bundle import ROOT
from tests.infra.golden import check_text
from tests.infra.picture import mermaid
from tests.infra.template import Synthesised


def test_the_picture_shows_the_current_state_machine(dev: Synthesised) -> None:
    page = ROOT / "docs" / "architecture.md"
    picture = f"```mermaid\n{mermaid(dev.definition())}\n```"
    check_text(page, re.sub(r"```mermaid\n.*?\n```", lambda _: picture, page.read_text(), flags=re.DOTALL))


def test_the_page_names_every_module_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    modules = {path.stem for path in (ROOT / "cdk_app").glob("[a-z]*.py")}
    assert set(re.findall(r"`(\w+)\.py`", page)) == modules | {"app"}
