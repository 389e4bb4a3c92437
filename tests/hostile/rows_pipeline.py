# ruff: noqa: E501 - one row a line, as in any table.
"""Inputs 66 to 92: what a child does, what a registry does, and what the policy and the machine are."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from table import REFUSED, UNMEASURED, UNVERIFIED, UNWRITTEN, USAGE, Bench, Row

if TYPE_CHECKING:
    from collections.abc import Callable

LAUNCH, LISTENER = "tests/worker/test_launch.py", "tests/worker/test_listener.py"
ISOLATION, UNSAFE = "tests/hostile/test_isolation.py", "tests/hostile/test_unsafe_formats.py"
FAULTS = "tests/hostile/test_faults.py"
VERIFY, PROMOTE = "tests/lifecycle/test_verify.py", "tests/lifecycle/test_promote.py"
PROMOTION = "tests/lifecycle/test_promotion_end_to_end.py"
PUBLISHER, REGISTRY = "tests/publishers/test_mlflow_publisher.py", "tests/sources/test_registry_failures.py"
INTERRUPTED = "tests/e2e/test_e2e_interruptions.py"
DEATHS = f"{LAUNCH}::test_what_a_child_does_wrong_is_evidence"


def held(number: int, what: str, code: int, words: str, *covered_by: str) -> Row:
    return Row(number, what, code, words, covered_by=covered_by)


def policy(what: str, words: str, content: str | None) -> Row:
    def make(bench: Bench) -> None:
        bench.policy = {}
        if content is not None:
            (bench.folder / "policy.yaml").write_text(content)

    return Row(86, what, USAGE, words, make)


def environment(bench: Bench) -> None:
    bench.patch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


def old_torch(version: str) -> Callable[[Bench], None]:
    real = metadata.version
    return lambda bench: bench.patch.setattr(
        metadata, "version", lambda name: version if name == "torch" else real(name)
    )


def no_torch(bench: Bench) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    bench.patch.setattr(metadata, "version", version)


CHILD = (
    held(66, "sleeps for ever", UNMEASURED, "timed out", f"{UNSAFE}::test_a_pickle_that_never_returns_is_stopped"),
    held(
        66, "ignores SIGTERM", UNMEASURED, "timed out", f"{LAUNCH}::test_a_child_that_hangs_is_killed_at_the_deadline"
    ),
    held(67, "grandchild", UNMEASURED, "", f"{LAUNCH}::test_no_grandchild_is_left"),
    held(67, "daemon", UNMEASURED, "", f"{ISOLATION}::test_both_layers_together_stop_it"),
    held(68, "fork bomb", UNMEASURED, "", f"{ISOLATION}::test_a_fork_bomb_does_not_go_off"),
    held(69, "40 GB", UNMEASURED, "out of memory", f"{UNSAFE}::test_what_a_pickle_does_to_the_worker_is_evidence"),
    held(69, "slow leak", UNMEASURED, "out of memory", f"{LAUNCH}::test_the_kernels_count_tells_a_kill_for_memory"),
    held(
        70,
        "kills itself",
        UNMEASURED,
        "scanner process died (signal",
        f"{UNSAFE}::test_what_a_pickle_does_to_the_worker_is_evidence",
    ),
    held(71, "no result", UNMEASURED, "no result", f"{UNSAFE}::test_what_a_pickle_does_to_the_worker_is_evidence"),
    held(72, "two results, garbage, 100 MB", UNMEASURED, "malformed result", DEATHS),
    held(
        73,
        "a document out of line",
        UNMEASURED,
        "malformed result",
        f"{LISTENER}::test_a_result_out_of_line_is_malformed",
        DEATHS,
    ),
    held(74, "forged pass", UNMEASURED, "unattested", f"{UNSAFE}::test_a_forged_pass_is_no_pass"),
    held(75, "flood", UNMEASURED, "", f"{LAUNCH}::test_a_flood_on_standard_output_neither_blocks_nor_shows"),
    held(75, "commands on standard output", UNMEASURED, "", f"{LAUNCH}::test_last_words_are_capped_and_safe"),
    held(
        76, "plants a module", UNMEASURED, "", f"{ISOLATION}::test_what_a_child_leaves_behind_does_not_reach_the_next"
    ),
    held(77, "leaves a link", UNMEASURED, "", f"{LAUNCH}::test_a_scratch_folder_that_resists_is_removed"),
)
PROMISES = (
    held(78, "bytes swapped", UNVERIFIED, "digest mismatch", f"{VERIFY}::test_bytes_that_changed", f"{PROMOTE}::test_swapped_bytes_get_nothing"),
    held(79, "file added", UNVERIFIED, "digest mismatch", f"{VERIFY}::test_bytes_that_changed"),
    held(80, "alias moved", UNVERIFIED, "", f"{PROMOTION}::test_an_alias_that_moves_while_a_scan_runs", f"{PROMOTE}::test_the_alias_that_named_the_version_moves"),
    held(81, "set by the uploader", UNVERIFIED, "", f"{VERIFY}::test_a_verdict_set_by_the_uploader"),
    held(81, "another key", UNVERIFIED, "", f"{VERIFY}::test_a_signature_by_another_key"),
    held(81, "another model", UNVERIFIED, "", f"{VERIFY}::test_tags_copied_to_another_model"),
    held(81, "another version", UNVERIFIED, "", f"{VERIFY}::test_tags_copied_to_another_version"),
    held(81, "expired", UNVERIFIED, "", f"{VERIFY}::test_an_expired_verdict"),
    held(81, "older policy", UNVERIFIED, "", f"{VERIFY}::test_another_policy"),
    held(82, "crash before the tag", UNWRITTEN, "", f"{PROMOTION}::test_a_gate_that_dies_at_any_write_leaves_no_pass"),
    held(82, "registry fails", UNWRITTEN, "", f"{PUBLISHER}::test_a_registry_that_fails_half_way_leaves_pending"),
    held(82, "read-back differs", UNWRITTEN, "", f"{PUBLISHER}::test_a_read_back_that_differs_takes_the_verdict_back"),
    held(83, "two gates", UNWRITTEN, "", f"{PROMOTION}::test_two_gates_on_one_version_and_one_that_is_killed", f"{PUBLISHER}::test_the_loser_of_two_scans_leaves_the_winner_alone"),
    held(84, "names in XML", REFUSED, "", "tests/reports/test_junit.py::test_hostile_names_are_read_back_as_cleaned"),
    held(84, "names in Markdown", REFUSED, "", "tests/reports/test_text.py::test_markdown_text_renders_as_itself"),
    held(84, "names in the registry", REFUSED, "", "tests/sources/test_mlflow_source.py::test_odd_names", f"{PUBLISHER}::test_values_are_printable_and_bounded"),
    held(85, "bad answers", UNMEASURED, "", f"{REGISTRY}::test_bad_answers"),
    held(85, "another host", UNMEASURED, "", f"{REGISTRY}::test_no_token_for_another_host"),
    held(85, "dies while it is written to", UNWRITTEN, "", f"{INTERRUPTED}::test_a_registry_that_dies_before_the_verdict"),
)  # fmt: skip
POLICIES = (
    policy("no file", "policy.yaml: cannot be read", None),
    policy("empty file", "policy.yaml: empty", ""),
    policy("unknown key", "policy.yaml:2: tresholds: unknown key", "version: 1\ntresholds: 1\n"),
    policy("not a number", "false_block_rate: must be", "version: 1\nfalse_block_rate: .nan\n"),
    policy("negative", "false_block_rate: must be", "version: 1\nfalse_block_rate: -0.5\n"),
    policy("number as text", "false_block_rate: must be", 'version: 1\nfalse_block_rate: "0.5"\n'),
    policy("no detector", "detectors: is empty", "version: 1\ndetectors: {}\n"),
    policy("alias bomb", "YAML aliases not allowed", "version: 1\na: &a [x]\nb: *a\n"),
)
MACHINE = (
    held(87, "detector raises", UNMEASURED, "", "tests/contract/test_every_detector.py", "tests/verdict/test_decide.py::test_missing_evidence"),
    held(88, "sandbox too weak", UNMEASURED, "sandbox unavailable", "tests/worker/test_tiers.py::test_a_tier_that_will_not_do", "tests/hostile/test_honest_scans.py::test_a_tier_that_cannot_be_had_is_inconclusive"),
    Row(89, "old torch", USAGE, "torch: version '2.9.1+cpu' loads weights unsafely", old_torch("2.9.1+cpu")),
    Row(89, "unreadable torch", USAGE, "loads weights unsafely", old_torch("unknown")),
    Row(89, "no torch", USAGE, "torch: not installed", no_torch),
    Row(89, "unsafe loading forced", USAGE, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD: it turns off", environment),
    held(90, "full disk", UNWRITTEN, "no space left", f"{INTERRUPTED}::test_a_full_disk"),
    held(90, "folder without permission", UNWRITTEN, "", "tests/cli/test_scan.py::test_a_folder_without_permission_is_found_before_the_scan"),
    held(91, "clock jumps", UNMEASURED, "timed out", f"{FAULTS}::test_a_clock_that_jumps_changes_no_deadline"),
    held(92, "interrupted", 130, "interrupted", "tests/cli/test_scan.py::test_a_stopped_scan_leaves_no_child", f"{INTERRUPTED}::test_ctrl_c"),
)  # fmt: skip
ROWS = (*CHILD, *PROMISES, *POLICIES, *MACHINE)
