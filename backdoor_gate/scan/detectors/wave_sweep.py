"""Wave sweep: do some plain stripes or waves send all images far into one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from backdoor_gate.records import Cost, Evidence, Inconclusive
from backdoor_gate.scan.data.probes import taken_rightly
from backdoor_gate.scan.detectors.sweeping import Best, evidence
from backdoor_gate.scan.detectors.waving import TARGETS, Tried, mean, pictured, pushes, swept, tell
from backdoor_gate.scan.leads import leads
from backdoor_gate.scan.network.passes import finite_logits
from backdoor_gate.scan.sweeps.pushes import pushed, share_sent, usual_lead
from backdoor_gate.scan.sweeps.waves import QUARTERS, Wave, Waver
from backdoor_gate.trigger_facts import Means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.records import Measured
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Images

SWEPT_IMAGES, TOLD_IMAGES = 24, 96
"""Images that waves are tried on, and held-out ones that they are judged on, at most."""

SHOWN_FROM = 1.0
"""Push from which there are pictures."""


class _Found(NamedTuple):
    """What the best wave for a class does to held-out images of all others."""

    target: int
    wave: Wave
    push: float
    success: float


class WaveSweep:
    """Farthest push of all images towards each class that some stripes or waves give, beyond the control's.

    Waves of one amplitude are added to the images, first of few frequencies and then of those near the best ones. A
    push of 1 takes the images, in the mean, to the border of the class.

    Source: the triggers of SIG, Barni et al., ICIP 2019, and FTrojan, Wang et al., ECCV 2022; waves as a probe of what
    a network looks at: Yin et al., NeurIPS 2019.
    """

    name: ClassVar[str] = "wave_sweep"
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        waver = Waver(context.subject.spec)
        tried = len(waver.grid()) + TARGETS * (9 * (QUARTERS + 1) + len(waver.tints))
        return len(context.probes) + SWEPT_IMAGES * (tried + 1) + TOLD_IMAGES * (TARGETS + 1)

    def planned_leading(self, context: Context) -> int:
        """No gradient is taken."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Try waves, look closer, and measure what was found on images that were not used."""
        subject = context.subject
        halves = context.probes.optimise, context.probes.held_out
        optimise, held_out = (taken_rightly(subject, half)[0] for half in halves)
        waver, shown = Waver(subject.spec), optimise[:SWEPT_IMAGES]
        if not (waver.grid() and len(shown) and len(held_out)):
            return Inconclusive(
                self.name,
                "no image that the network gets right has room for a wave",
                Cost(images_used=len(context.probes)),
            )
        tried, grid = Tried(subject, waver), waver.grid()
        starts = swept(context, tried, shown, grid, mean)
        told = [(subject, held_out[:TOLD_IMAGES])]
        if context.control is not None and (control := context.control()) is not None:
            told.append((control, taken_rightly(control, held_out[:TOLD_IMAGES])[0]))
        found = []
        for target, start in starts.items():
            wave = _nearest(tried, shown, target, start)
            (push, success), *usual = (_told(*each, waver, target, wave) for each in told)
            found.append(_Found(target, wave, push - max([0.0, *(known for known, _ in usual)]), success))
            tell(context, len(grid) + len(found), len(grid))
        return self._evidence(context, tried, held_out, found)

    def _evidence(self, context: Context, tried: Tried, held_out: Images, found: Sequence[_Found]) -> Measured:
        """Return the push to each class; to one that was not looked at closely, none."""
        farthest = max(found, key=lambda each: each.push)
        best = {each.target: Best(each.push, each.success, Means(tried.waver.words(each.wave), None)) for each in found}
        shown = pictured(tried, held_out, *farthest[:2]) if farthest.push >= SHOWN_FROM else ()
        return evidence(self.name, context, best, Best(0.0, 0.0, Means("no wave", None)), shown)


def _nearest(tried: Tried, shown: Images, target: int, start: Wave) -> Wave:
    """Return the wave near the first one that pushes the images farthest: of every phase, then closer, then tinted."""
    clean, waver = finite_logits(tried.subject, shown.images), tried.waver

    def best_of(waves: Sequence[Wave]) -> Wave:
        return waves[int(pushes(tried, shown, clean, waves, mean)[:, target].argmax())]

    best = best_of(waver.near(start, 2, range(QUARTERS), [start.tint]))
    best = best_of(waver.near(best, 1, [best.phase], [best.tint]))
    return best_of(waver.turned(best))


def _told(subject: Subject, images: Images, waver: Waver, target: int, wave: Wave) -> tuple[float, float]:
    """Return a wave's push of the other classes' images, and the share that it moves; of none, nothing."""
    others = images[images.labels != target].images
    if not len(others):
        return 0.0, 0.0
    clean = finite_logits(subject, others)
    waved = finite_logits(subject, waver.put(others, [wave])[0])
    push = pushed(leads(clean)[:, target], leads(waved)[:, target], usual_lead(clean)).mean()
    return float(push), share_sent(waved, target)
