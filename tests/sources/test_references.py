"""References by form alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backdoor_gate.errors import UsageError
from backdoor_gate.sources import is_registry, source_for
from backdoor_gate.sources.directory import DirectorySource
from backdoor_gate.sources.mlflow import MlflowSource
from backdoor_gate.sources.references import ByAlias, ById, ByVersion, InRun, Parsed, parse


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("models:/digits/3", ByVersion("digits", "3")),
        ("models:///digits/003", ByVersion("digits", "3")),
        ("models:/m-x/3", ByVersion("m-x", "3")),
        ("models:/a@b/3", ByVersion("a@b", "3")),
        ("models:/digits@challenger", ByAlias("digits", "challenger")),
        ("models:/a@b@c", ByAlias("a@b", "c")),
        ("models:/m-0123abc", ById("m-0123abc")),
        ("runs:/0123abc/model", InRun("0123abc", "model")),
        ("runs:/0123abc/a/b.pt2/", InRun("0123abc", "a/b.pt2")),
    ],
)
def test_forms(reference: str, expected: Parsed) -> None:
    assert parse(reference) == expected
    assert is_registry(reference) is isinstance(expected, ByVersion | ByAlias)
    assert isinstance(source_for(reference), MlflowSource)


@pytest.mark.parametrize(
    "reference",
    [
        "models:/digits/latest",
        "models:/digits/Production",
        "models:/digits",
        "models:/digits/",
        "models:/digits/3/data",
        "models:/digits/-1",
        "models:/digits/٣",
        "models:/digits/9999999999999999999",
        "models:/",
        "models://host/digits/3",
        "models:/digits@",
        "models:/@x",
        "runs:/abc",
        "runs:/abc/",
        "runs:/abc/../x",
        "runs:/abc//x",
        "runs://host/abc/x",
        "s3://bucket/x",
    ],
)
def test_what_is_not_a_model_reference(reference: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(reference)
    assert caught.value.hint
    assert not is_registry(reference)


def test_a_floating_version_says_what_to_write() -> None:
    with pytest.raises(UsageError, match=r"name a version \(models:/NAME/3\) or an alias"):
        parse("models:/digits/latest")


@pytest.mark.parametrize("reference", ["model", "./model", "/abs/model.pt2", "C:\\model", "a:b", "odd@name"])
def test_local_paths(reference: str) -> None:
    assert isinstance(source_for(reference), DirectorySource)
    assert not is_registry(reference)


@given(
    st.text(max_size=40).map(lambda text: f"models:/{text}") | st.text(max_size=40).map(lambda text: f"runs:/{text}")
)
def test_any_text_parses_or_is_a_usage_error(reference: str) -> None:
    message = ""
    try:
        parse(reference)
    except UsageError as error:
        message = str(error)
    assert message.isprintable()
