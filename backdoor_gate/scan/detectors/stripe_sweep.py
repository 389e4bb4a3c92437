"""Stripe sweep: is there a stripe, no stronger than the images' own, that sends all of them to one class."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from backdoor_gate.records import Cost, Evidence, Inconclusive
from backdoor_gate.scan.data.probes import taken_rightly
from backdoor_gate.scan.detectors.sweeping import Best, evidence
from backdoor_gate.scan.detectors.waving import TARGETS, Tried, of_the_last, pictured, pushes, swept, tell
from backdoor_gate.scan.network.passes import finite_logits
from backdoor_gate.scan.sweeps.stripes import NEARBY, Stripes
from backdoor_gate.scan.sweeps.waves import QUARTERS, Wave, Waver
from backdoor_gate.trigger_facts import Means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from backdoor_gate.records import Measured
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers import Images

SWEPT_IMAGES, TOLD_IMAGES = 24, 96
"""Images that stripes are tried on, and those, of either half, that a stripe is settled and judged on, at most."""

SWEPT_SHARE, NEAR_SHARE = 4.0, 2.5
"""How strong stripes are at first, and where phases and neighbouring frequencies are told from each other."""

REQUIRED_SUCCESS = 0.95
"""Share of the images that a stripe has to move. What a network takes for a class by nature leaves some images where
they are, however strong it is, up to several times what moves the first half; a trigger moves all."""

FAINTEST, ROUNDS = 0.25, 7
"""Least share, and halvings until a share is known to 3 %."""

NONE = 20.0
"""What stands for a class that no stripe moves, and what no value goes beyond."""

UNKNOWN = 0.2
"""Share of the images that is taken to go there by nature where no control can tell."""

BROAD, OTHER_WAY = 2.0, 0.5
"""How much less a class counts that noise leads to, and stripes the other way as well: so much of the images at least.
It is no more, since the candidate's word is all there is for it."""

LEAST_LEFT = 1e-3
"""Share that nature leaves at least, so that the value stays a number."""

SHOWN_UP_TO = 5.0
"""Share up to which there are pictures."""


class _Found(NamedTuple):
    """The faintest stripe for a class, and what it does to held-out images of all others."""

    target: int
    stripe: Wave
    value: float
    success: float


class StripeSweep:
    """Faintest stripe for each class that sends nearly all images there, as a share of the images' own.

    Stripes of every frequency are tried at one share, and near the best of each class the faintest that will do is
    settled. Where the control, too, sends images there by a stripe twice as strong, that is nature's share, and the
    value is as much larger as it leaves less to the trigger.

    Source: the trigger of SIG, Barni et al., ICIP 2019.
    """

    name: ClassVar[str] = "stripe_sweep"
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network; for few classes of few networks a share is settled."""
        probes = context.probes
        tried = len(Stripes(context.subject.spec, probes.optimise.images[:1]).all(SWEPT_SHARE))
        looks = SWEPT_IMAGES * (NEARBY + 1) + min(TOLD_IMAGES, len(probes.optimise))
        return len(probes) + SWEPT_IMAGES * (tried + 1) + TARGETS * looks

    def planned_leading(self, context: Context) -> int:
        """No gradient is taken."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Try stripes, settle the best, and put them on images that were not used."""
        subject, probes = context.subject, context.probes
        optimise, held_out = (taken_rightly(subject, half)[0] for half in (probes.optimise, probes.held_out))
        stripes = Stripes(subject.spec, probes.optimise.images)
        if not (stripes.all(SWEPT_SHARE) and len(optimise) and len(held_out)):
            return Inconclusive(
                self.name,
                "no image that the network gets right has room for a stripe",
                Cost(images_used=len(probes)),
            )
        tried = Tried(subject, Waver(subject.spec))
        every = stripes.all(SWEPT_SHARE)
        starts = swept(context, tried, optimise[:SWEPT_IMAGES], every, of_the_last)
        search = _Search(tried, stripes, _Nature.of(context, tried, held_out[:TOLD_IMAGES]))
        found = []
        for target, start in starts.items():
            found.append(search.faintest(optimise, held_out, target, start))
            tell(context, len(every) + len(found), len(every))
        return self._evidence(context, tried, held_out, found)

    def _evidence(self, context: Context, tried: Tried, held_out: Images, found: Sequence[_Found]) -> Measured:
        """Return the share for each class; one that was not looked at closely counts as one that no stripe moves."""
        faintest = min(found, key=lambda each: each.value)
        best = {
            each.target: Best(each.value, each.success, Means(tried.waver.words(each.stripe), None)) for each in found
        }
        shown = pictured(tried, held_out, *faintest[:2]) if faintest.value <= SHOWN_UP_TO else ()
        return evidence(self.name, context, best, Best(NONE, 0.0, Means("no stripe", None)), shown)


class _Nature(NamedTuple):
    """What there is to tell what any network makes of a stripe."""

    control: Tried | None
    images: Images
    noise_classes: tuple[int, ...]

    @classmethod
    def of(cls, context: Context, tried: Tried, held_out: Images) -> _Nature:
        """Wait for the control, if there is one."""
        control = None if context.control is None else context.control()
        if control is None:
            return cls(None, held_out, context.noise_classes)
        return cls(tried._replace(subject=control), taken_rightly(control, held_out)[0], context.noise_classes)

    def share(self, stripe: Wave, target: int) -> float:
        """Return the share of the images that a stripe twice as strong sends to a class by nature, in [0, 1]."""
        if self.control is None:
            return 1.0 if target in self.noise_classes else UNKNOWN
        others = self.images[self.images.labels != target].images
        louder = replace(stripe, amplitude=2 * stripe.amplitude)
        phases = (replace(louder, phase=phase) for phase in range(QUARTERS))
        return max(self.control.moved(others, each, target) for each in phases) if len(others) else UNKNOWN


class _Search(NamedTuple):
    """The search for the faintest stripe."""

    tried: Tried
    stripes: Stripes
    nature: _Nature

    def faintest(self, optimise: Images, held_out: Images, target: int, start: Wave) -> _Found:
        """Return the faintest stripe near the first one that will do, and what it does to the images held out."""
        stripe = self._nearest(optimise[:SWEPT_IMAGES], target, start)
        share = self._settled(optimise[optimise.labels != target].images[:TOLD_IMAGES], target, stripe)
        others = held_out[held_out.labels != target].images[:TOLD_IMAGES]
        if share is None or not len(others):
            return _Found(target, self.stripes.of(stripe, self.stripes.most(stripe)), NONE, 0.0)
        stripe = self.stripes.of(stripe, share)
        left = max(LEAST_LEFT, 1 - self.nature.share(stripe, target))
        value = share / left**2 * self._breadth(others, stripe, target)
        return _Found(target, stripe, min(NONE, value), self.tried.moved(others, stripe, target))

    def _breadth(self, images: Tensor, stripe: Wave, target: int) -> float:
        """Return by what a class of noise counts for less where any stripes lead to it: those the other way, too."""
        other_way = replace(stripe, rows=stripe.columns, columns=stripe.rows)
        if target not in self.nature.noise_classes or not self.stripes.has(other_way):
            return 1.0
        return BROAD if self.tried.moved(images, other_way, target) >= OTHER_WAY else 1.0

    def _nearest(self, shown: Images, target: int, start: Wave) -> Wave:
        """Return the stripe, of any phase, that pushes the images farthest at the frequency of the first, or nearby."""
        near = self.stripes.near(start, NEAR_SHARE)
        found = pushes(self.tried, shown, finite_logits(self.tried.subject, shown.images), near, of_the_last)
        return near[int(found[:, target].argmax())]

    def _settled(self, images: Tensor, target: int, stripe: Wave) -> float | None:
        """Return the least share at which a stripe moves enough of the images; None where it does at none."""

        def does(share: float) -> bool:
            moved = self.tried.moved(images, self.stripes.of(stripe, share), target, leading=True)
            return moved >= REQUIRED_SUCCESS

        low, high = FAINTEST, self.stripes.most(stripe)
        if not len(images) or not does(high):
            return None
        for _ in range(ROUNDS):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if does(middle) else (middle, high)
        return high
