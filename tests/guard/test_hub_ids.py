"""One rule says what a Hub id is, for models and for data sets."""

import pytest

from lem_models.errors import UnknownNameError
from lem_models.guard.hub_ids import check_hub_id, is_hub_id


@pytest.mark.parametrize("name", ["org/name", "o/n", "Org_1/na.me-2", "a" * 47 + "/" + "b" * 48])
def test_hub_ids(name):
    assert is_hub_id(name)
    assert check_hub_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("name", "/name", "org/", "a/b/c", "org/-name", ".org/name", "org/na me", "org/name\n", "örg/name"),
        *("org/na--me", "org/../name", "org/name.git", "a" * 48 + "/" + "b" * 48, None, 7),
    ],
)
def test_other_names_are_refused(name):
    assert not is_hub_id(name)
    with pytest.raises(UnknownNameError, match=r"^a data set on the Hub is named 'org/name'; got "):
        check_hub_id(name, "data set")
