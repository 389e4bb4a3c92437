"""The stand-in for GitHub's runner, held against what GitHub documents; a wrong one would prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.github_expressions import Expressions
from support.github_runner import Command, Runner, commands, read_environment_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTEXTS = {"inputs": {"a": "x", "cache": "true"}, "steps": {"one": {"outputs": {"my-out": "7"}}}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("inputs.a", "x"),
        ("steps.one.outputs.my-out", "7"),
        ("steps.two.outputs.x", None),
        ("inputs.a == 'X'", True),
        ("inputs.a != 'x'", False),
        ("inputs.none == ''", True),
        ("inputs.none || 'it''s'", "it's"),
        ("inputs.a && 'then' || 'else'", "then"),
        ("inputs.none && 'then' || 'else'", "else"),
        ("!(inputs.a == 'y') && true", True),
        ("failure() || always()", True),
    ],
)
def test_expressions(text: str, value: Any) -> None:
    assert Expressions(CONTEXTS).value(text) == value


@pytest.mark.parametrize("text", ["inputs.a +", "nowhere.a", "format('x')", "inputs.a inputs.a", "(true"])
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        Expressions(CONTEXTS).value(text)


@pytest.mark.parametrize(
    ("condition", "after_success", "after_failure"),
    [
        (None, True, False),
        ("inputs.cache == 'true'", True, False),
        ("inputs.cache == 'false'", False, False),
        ("${{ always() }}", True, True),
        ("failure()", False, True),
        ("always() && inputs.cache == 'true'", True, True),
    ],
)
def test_conditions(condition: str | None, after_success: bool, after_failure: bool) -> None:
    assert Expressions(CONTEXTS).condition(condition) is after_success
    assert Expressions(CONTEXTS, failed=True).condition(condition) is after_failure


def test_environment_files() -> None:
    text = "a=1=2\nb<<END\nx\ny=<<z\nEND\nc=\n"
    assert read_environment_file(text) == {"a": "1=2", "b": "x\ny=<<z", "c": ""}
    for broken in ("b<<END\nx\n", "no sign\n"):
        with pytest.raises(AssertionError):
            read_environment_file(broken)


def test_commands_in_both_spellings_and_none_between_stop_and_token() -> None:
    before = "a\n  ::error file=x,line=1::m::n\nb ##[warning]w\n"
    log = f"{before}::stop-commands::t\n::error::no\n##[error]no\n::t::\r\n::x::y"
    found = [Command("error", "file=x,line=1", "m::n"), Command("warning", "", "w"), Command("x", "", "y")]
    assert commands(log) == found


ACTION = """\
inputs: {word: {default: hello}}
outputs:
  said: {value: "${{ steps.say.outputs.said }}"}
runs:
  using: composite
  steps:
    - {id: other, uses: "someone/something@v1", with: {word: "${{ inputs.word }}"}}
    - id: say
      shell: bash
      env: {WORD: "${{ steps.other.outputs.word }}"}
      run: |
        echo "said=$WORD" >> "$GITHUB_OUTPUT"
        echo "KEPT=$WORD" >> "$GITHUB_ENV"
        echo "/added" >> "$GITHUB_PATH"
        echo "# sum" >> "$GITHUB_STEP_SUMMARY"
    - id: later
      shell: bash
      run: |
        test ! -s "$GITHUB_OUTPUT"
        echo "$KEPT ${PATH%%:*} ${WORD-unset} ${INPUT_WORD-unset}"
    - {id: fails, shell: bash, run: "false | true; echo not reached"}
    - {id: skipped, shell: bash, run: echo no}
    - {id: last, if: always(), shell: bash, run: echo yes}
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "action.yml").write_text(ACTION, encoding="utf-8")
    uses = {"someone/something": lambda given: {"word": given["word"].upper()}}
    return Runner(tmp_path, tmp_path, tmp_path, uses, {"PATH": "/usr/bin:/bin"}).run


def test_steps_run_as_on_a_runner(run: Callable[..., Any]) -> None:
    result = run(word="hi there")
    assert result.outputs == {"said": "HI THERE"}
    assert result.steps["say"].summary == "# sum\n"
    assert result.steps["later"].log == "HI THERE /added unset unset\n"
    assert (result.steps["fails"].code, result.steps["fails"].log) == (1, "")
    conclusions = {name: step.conclusion for name, step in result.steps.items()}
    assert conclusions["skipped"] == "skipped"
    assert conclusions["last"] == "success"
    assert result.conclusion == "failure"


def test_an_input_that_does_not_exist_is_an_error(run: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="no such input"):
        run(wrod="x")
