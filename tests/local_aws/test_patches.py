import pytest

from tests.local_aws.plugin import patches


def test_the_pinned_version_has_every_name() -> None:
    patches.check()


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "9.9")
    with pytest.raises(
        SystemExit, match=r"MiniStack 9\.9 is installed.*missing names: none\. Install the pinned version"
    ):
        patches.check()


def test_the_message_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(patches.NAMES, "services.sts", ("make_coffee",))
    with pytest.raises(SystemExit, match=r"missing names: services\.sts\.make_coffee\."):
        patches.check()


def test_a_name_that_is_not_in_the_list_is_not_replaced() -> None:
    from ministack.services import sts

    with pytest.raises(AssertionError, match=r"services\.sts\.reset is not in the list of patches"):
        patches.replace(sts, "reset", None)
