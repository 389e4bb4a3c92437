"""Which aliases need a statement, also where a database takes several spellings for one."""

from __future__ import annotations

import pytest

from backdoor_gate.enforcement.rules import Rules, folded


def covers(alias: str, *enforced: str) -> bool:
    return Rules((), frozenset(map(folded, enforced)), frozenset()).covers_alias(alias)


@pytest.mark.parametrize(
    "alias",
    [
        "champion",
        "CHAMPION",
        "champ\u00efon",
        "champi\u0308on",
        "\uff43\uff48\uff41\uff4d\uff50\uff49\uff4f\uff4e",
        "champ\u0131on",
        "\u0441hampion",  # a Cyrillic letter
        "champion\u200d",
        "champion\n",
        "champion ",
        "champion\x01",
        "\u5019\u88dc",
        "",
    ],
    ids=ascii,
)
def test_whatever_a_database_may_take_for_the_champion(alias: str) -> None:
    assert covers(alias, "champion")


@pytest.mark.parametrize("alias", ["challenger", "champion2", "champion-2", "Champ_ion", "prod"])
def test_other_plain_aliases_are_free(alias: str) -> None:
    assert not covers(alias, "champion")


@pytest.mark.parametrize("alias", ["grosse", "GROSSE", "gr\u00f6\u00dfe", "GRO\u0308SSE"], ids=ascii)
def test_an_enforced_alias_may_have_accents(alias: str) -> None:
    assert covers(alias, "gr\u00f6\u00dfe")


def test_every_alias() -> None:
    assert covers("anything", "*")
