"""The parent's ear: bytes of the channel in, progress and one outcome out. No process, so it can be fuzzed as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backdoor_gate.errors import WorkerError
from backdoor_gate.examination import Task
from backdoor_gate.worker import allowance, answers, checks, messages, schema, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.examination import Examination
    from backdoor_gate.records import Job, Progress, Scan
    from backdoor_gate.worker.tiers import Isolation


class Listener:
    """Follows one conversation of `lockdown progress* result array*`.

    Args:
        job: what the child will be told to do; its answer is held against it.
        nonce: what each document of the child must carry.
        on_lockdown: called once, before anything else is heard but a failure; returns the isolation that was reached,
            or raises if it will not do.
        on_progress: called with each progress message.
        task: what the job is for; an answer to another one is refused.
    """

    def __init__(
        self,
        job: Job,
        nonce: str,
        on_lockdown: Callable[[schema.LockdownDocument], Isolation],
        on_progress: Callable[[Progress], None],
        task: Task = Task.SCAN,
    ) -> None:
        self._job = job
        self._task = task
        self._nonce = nonce
        self._on_lockdown = on_lockdown
        self._on_progress = on_progress
        self._isolation: Isolation | None = None
        self._begun: dict[int, None] = {}
        self._progress_left = 1000 + int(2 * wire.PROGRESS_PER_SECOND * job.limits.seconds)
        self._reader = wire.FrameReader(self._limit)
        self._result: schema.ResultDocument | None = None
        self._missing: list[int] = []
        self._arrays: list[bytes] = []

    def hear(self, data: bytes) -> None:
        """Take in what the child wrote.

        Raises:
            WorkerError: it breaks a rule of the channel.
        """
        for kind, payload in self._reader.feed(data):
            if kind == wire.LOCKDOWN:
                self._hear_lockdown(payload)
            elif kind == wire.PROGRESS:
                self._hear_progress(payload)
            elif kind == wire.RESULT:
                self._hear_result(payload)
            else:
                self._hear_array(payload)

    def reached(self) -> str:
        """Return how far a scan has come, as the child tells it."""
        names = [self._job.detectors[position].name for position in self._begun]
        of_all = f"of {len(self._job.detectors)} detectors"
        return f"{len(names)} {of_all} had begun: {', '.join(names)}" if names else f"none {of_all} had begun"

    def outcome(self) -> Scan:
        """Return the scan, once the child has ended by itself.

        Raises:
            GateError: what the child reported instead of a scan.
            WorkerError: there is no result, or it is cut off.
        """
        result, isolation = self._finished()
        assert result.scan is not None
        return messages.scan_from(result.scan, self._arrays, isolation=isolation, seed=self._job.seed)

    def examined(self) -> tuple[Examination, Isolation]:
        """Return the answer to another task than a scan, and the isolation that was reached; raises as `outcome`."""
        result, isolation = self._finished()
        assert result.examination is not None
        return answers.examination_from(result.examination), isolation

    def _finished(self) -> tuple[schema.ResultDocument, Isolation]:
        if self._reader.pending or self._missing:
            raise wire.malformed("cut off or followed by more")
        if self._result is None:
            raise WorkerError("no result", hint="scan again; if it repeats, treat the candidate as hostile")
        if self._result.failure is not None:
            raise messages.failure_from(self._result.failure)
        assert self._isolation is not None
        return self._result, self._isolation

    def _limit(self, kind: bytes) -> int:
        """Return how large a frame of this kind may be now."""
        if self._result is None:
            limits = {wire.RESULT: wire.MAX_RESULT_BYTES}
            if self._isolation is None:
                limits[wire.LOCKDOWN] = wire.MAX_LOCKDOWN_BYTES
            else:
                limits[wire.PROGRESS] = wire.MAX_PROGRESS_BYTES
                if self._task is Task.SCAN:
                    limits[wire.RESULT] = allowance.result_bytes(self._job)
            if kind in limits:
                return limits[kind]
        elif kind == wire.ARRAY and self._missing:
            return self._missing[0]
        raise wire.malformed("message out of turn")

    def _hear_lockdown(self, payload: bytes) -> None:
        document = schema.validate(schema.LockdownDocument, wire.strict_json(payload))
        self._check_nonce(document.nonce)
        self._isolation = self._on_lockdown(document)

    def _hear_progress(self, payload: bytes) -> None:
        document = schema.validate(schema.ProgressDocument, wire.strict_json(payload))
        self._check_nonce(document.nonce)
        self._progress_left -= 1
        if self._progress_left < 0:
            raise wire.malformed("too many progress messages")
        checks.check_progress(document, self._job)
        self._begun[document.detector] = None
        self._on_progress(messages.progress_from(document))

    def _hear_result(self, payload: bytes) -> None:
        document = schema.validate(schema.ResultDocument, wire.strict_json(payload))
        self._check_nonce(document.nonce)
        answer = document.scan or document.examination
        if (answer is None) == (document.failure is None) or (document.scan and document.examination):
            raise wire.malformed("neither a scan nor a failure, or both")
        if answer is not None and self._isolation is None:
            raise wire.malformed("scan before the job")
        if answer is not None and answers.task_of(answer) is not self._task:
            raise wire.malformed("answer to another task")
        if document.scan is not None:
            checks.check_scan(document.scan, self._job)
            self._missing = schema.array_sizes(document.scan)
        elif document.examination is not None:
            checks.check_examination(document.examination, self._job)
        self._result = document

    def _hear_array(self, payload: bytes) -> None:
        if len(payload) != self._missing.pop(0):
            raise wire.malformed("array shorter than its shape")
        self._arrays.append(payload)

    def _check_nonce(self, nonce: str) -> None:
        if nonce != self._nonce:
            raise wire.malformed("wrong nonce")
