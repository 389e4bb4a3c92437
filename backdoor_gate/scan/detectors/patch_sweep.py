"""Patch sweep: does some plain small patch, somewhere, send one class's images far into another."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from backdoor_gate.budgets import MOST_SEARCHED
from backdoor_gate.records import Cost, Evidence, Inconclusive
from backdoor_gate.scan.data.classes import at_most
from backdoor_gate.scan.data.probes import taken_rightly
from backdoor_gate.scan.detectors import pictures
from backdoor_gate.scan.detectors.sweeping import Best, evidence
from backdoor_gate.scan.leads import leads
from backdoor_gate.scan.network.passes import INFERENCE_CHUNK, finite_logits
from backdoor_gate.scan.sweeps.pushes import pushed, sent, share_sent, usual_lead
from backdoor_gate.scan.sweeps.stamps import STYLES, Stamp, Stamper
from backdoor_gate.trigger_facts import Means

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backdoor_gate.illustrations import Artefact
    from backdoor_gate.records import Measured
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.network.subject import Subject
    from backdoor_gate.scan.triggers import Images

SWEPT, STEP = 3, 2
"""Side of the patches that slide over the whole image, and the distance from one to the next, in units of a `Stamp`."""

SIZES = (2, 3, 4)
"""Sides of the patches that are tried near the best of those."""

SWEPT_IMAGES, NEAR_IMAGES = 2, 4
"""Images of a source for either."""

TARGETS = 2
"""Targets of each source that are looked at more closely: those that the sweep came closest to."""

FEWEST_HELD_OUT = 3
"""Held-out images of a source below which nothing is said of it."""

EVERYWHERE = 0.75
"""Share of all other classes' images that a patch moves from which it is not its source's alone."""

WIDE_IMAGES = 128
"""Held-out images of all classes that this is told from, at most."""

PARTICULAR = 0.25
"""Share of the images of neither its source nor its target up to which a pattern that moves its source's is particular
to it."""

SURE = 0.97
"""Share of its source's images that such a pattern has to move: what is natural leaves some where they are."""

PATTERNS = 12
"""Random patterns that a checkered patch is compared with."""

SHOWN_FROM = 1.0
"""Push from which there are pictures."""


class _Found(NamedTuple):
    """What the best patch from one class to another does to held-out images of that class."""

    source: int
    target: int
    stamp: Stamp
    push: float
    success: float


class _Reach(NamedTuple):
    """What a patch that moves its source's images does to those of other classes."""

    wide: float
    """Share that it moves of the images of all classes but its target."""
    beside: float | None
    """Share of those that are not its source's either; None where there are none: then nothing is particular."""


class _Judge(NamedTuple):
    """A network, the held-out images that it gets right, and the lead that is usual among them."""

    subject: Subject
    images: Images
    usual: float

    @classmethod
    def of(cls, subject: Subject, images: Images) -> _Judge:
        """Find out what is usual."""
        return cls(
            subject, images, usual_lead(finite_logits(subject, images.images[:WIDE_IMAGES])) if len(images) else 0.0
        )

    def told(self, way: tuple[int, int], stamper: Stamper, stamps: Sequence[Stamp]) -> list[tuple[float, float]]:
        """Return each patch's push of images of its source, and the share that it moves; of none, nothing."""
        source, target = way
        clean = self.images.images[self.images.labels == source]
        if not len(clean):
            return [(0.0, 0.0)] * len(stamps)
        before = leads(finite_logits(self.subject, clean))[:, target].mean()
        found = []
        for stamp in stamps:
            stamped = finite_logits(self.subject, stamper.put(clean, [stamp])[0])
            push = pushed(before, leads(stamped)[:, target].mean(), self.usual)
            found.append((float(push), share_sent(stamped, target)))
        return found


class PatchSweep:
    """Farthest push towards each class that a small patch gives to another class's images, beyond what is natural.

    Patches slide over the whole image, first coarsely and then near where they do most. A push of 1 takes the images,
    in the mean of their logits, from where they are to the border of the class, or as far as a class usually leads,
    where it is closer: what is planted goes far beyond. Natural is what the same patch does to the control, and, of a
    checkered one, what random patterns in its place do: a network that was trained on a pattern knows it from others.

    Source: BadNets, Gu et al., 2017, whose triggers these are; a square slid over the image to see what a network looks
    at: Zeiler and Fergus, ECCV 2014.
    """

    name: ClassVar[str] = "patch_sweep"
    controlled: ClassVar[bool] = True

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        stamper, classes = Stamper(context.subject.spec), context.subject.num_classes
        swept = len(_grid(stamper)) * SWEPT_IMAGES
        near = TARGETS * NEAR_IMAGES * 9 * len(_sizes(stamper)) * (len(STYLES) + 1)
        told = (1 + PATTERNS) * TARGETS * len(context.probes.held_out) // classes + WIDE_IMAGES
        return len(context.probes) + min(classes, MOST_SEARCHED) * (swept + near + told)

    def planned_leading(self, context: Context) -> int:
        """No gradient is taken."""
        return 0

    def measure(self, context: Context) -> Evidence:
        """Slide, look closer, and measure what was found on images that were not used."""
        subject, classes = context.subject, context.subject.num_classes
        halves = context.probes.optimise, context.probes.held_out
        optimise, held_out = (taken_rightly(subject, half)[0] for half in halves)
        shown = _shown(optimise, held_out, classes, context.seed)
        if not shown:
            return Inconclusive(
                self.name,
                "no class has images enough that the network gets right",
                Cost(images_used=len(context.probes)),
            )
        stamper = Stamper(subject.spec)
        starts, swept = _swept(context, stamper, shown), len(_grid(stamper))
        judges = [_Judge.of(subject, held_out)]
        if context.control is not None and (control := context.control()) is not None:
            judges.append(_Judge.of(control, taken_rightly(control, held_out)[0]))
        found = []
        for way, start in starts.items():
            stamp = _nearest(subject, stamper, shown[way[0]], way[1], start)
            (push, success), *usual = (judge.told(way, stamper, [stamp])[0] for judge in judges)
            natural = max(0.0, _of_random(judges[0], way, stamper, stamp, context.seed), *(known for known, _ in usual))
            found.append(_Found(*way, stamp, push - natural, success))
        found.sort(key=lambda each: each.push)
        _tell(context, swept + len(found), swept, len(shown))
        return self._evidence(context, stamper, held_out, found)

    def _evidence(self, context: Context, stamper: Stamper, held_out: Images, found: Sequence[_Found]) -> Measured:
        """Return the farthest push to each class; to one that nothing came close to, none."""
        subject, farthest = context.subject, {each.target: each for each in found}
        best = {k: _best(subject, stamper, held_out, each) for k, each in farthest.items()}
        shown = _pictures(subject, stamper, held_out, found[-1])
        return evidence(self.name, context, best, Best(0.0, 0.0, Means("no patch", None)), shown)


def _grid(stamper: Stamper) -> list[Stamp]:
    size = min(SWEPT, stamper.largest)
    return stamper.grid(size, min(STEP, size))


def _tell(context: Context, done: int, swept: int, sources: int) -> None:
    """Report progress, patch by patch and then way by way."""
    classes = context.subject.num_classes
    context.report(done, swept + sources * min(TARGETS, classes - 1), 0, classes - 1)


def _sizes(stamper: Stamper) -> list[int]:
    return [size for size in SIZES if size <= stamper.largest] or [stamper.largest]


def _shown(optimise: Images, held_out: Images, classes: int, seed: int) -> dict[int, Tensor]:
    """Return a few images of each source with enough of them; of very many sources, of some drawn at random."""
    told = held_out.labels.bincount(minlength=classes) >= FEWEST_HELD_OUT
    sources = ((optimise.labels.bincount(minlength=classes) > 0) & told).nonzero()[:, 0].cpu()
    chosen = at_most(MOST_SEARCHED, sources, seed)
    return {int(k): optimise.images[optimise.labels == int(k)][:NEAR_IMAGES] for k in chosen}


def _swept(context: Context, stamper: Stamper, shown: dict[int, Tensor]) -> dict[tuple[int, int], Stamp]:
    """Return the patch of the grid that pushes each source farthest to each of the targets that it comes closest to."""
    subject, stamps = context.subject, _grid(stamper)
    few = [images[:SWEPT_IMAGES] for images in shown.values()]
    images, shares = torch.cat(few), _shares([len(each) for each in few])
    shares = shares.to(images.device)  # (S, N)
    clean = finite_logits(subject, images)
    before, usual = shares @ leads(clean), usual_lead(clean)  # (S, K)
    best = torch.full_like(before, -torch.inf)
    which = torch.zeros_like(before, dtype=torch.int64)
    size = max(1, INFERENCE_CHUNK // len(images))
    for at in range(0, len(stamps), size):
        some = stamps[at : at + size]
        after = leads(finite_logits(subject, stamper.put(images, some).flatten(0, 1), leading=True))
        push = pushed(before, shares @ after.view(len(some), len(images), -1), usual)  # (stamps, S, K)
        farthest = push.max(dim=0)
        which = torch.where(farthest.values > best, at + farthest.indices, which)
        best = torch.maximum(best, farthest.values)
        _tell(context, at + len(some), len(stamps), len(shown))
    own = torch.tensor(list(shown), device=images.device)
    best[torch.arange(len(few)), own] = -torch.inf
    closest = best.topk(min(TARGETS, subject.num_classes - 1), dim=1).indices.tolist()
    return {
        (source, target): stamps[int(which[row, target])] for row, source in enumerate(shown) for target in closest[row]
    }


def _nearest(subject: Subject, stamper: Stamper, images: Tensor, target: int, start: Stamp) -> Stamp:
    """Return the patch near the first one that pushes the images farthest: of every style and size, then once more."""
    best = start
    for every_style in (True, False):
        near = stamper.near(best, _sizes(stamper), range(len(STYLES)) if every_style else [best.style])
        after = leads(finite_logits(subject, stamper.put(images, near).flatten(0, 1), leading=True))[:, target]
        best = near[int(after.view(len(near), -1).mean(dim=1).argmax())]
    return best


def _of_random(judge: _Judge, way: tuple[int, int], stamper: Stamper, stamp: Stamp, seed: int) -> float:
    """Return the mean push of random patterns in the place of a checkered patch, 0 for a plain one."""
    pushes = [push for push, _ in judge.told(way, stamper, stamper.random(stamp, PATTERNS, seed))]
    return statistics.fmean(pushes) if pushes else 0.0


def _best(subject: Subject, stamper: Stamper, held_out: Images, found: _Found) -> Best:
    """Return what a patch does to its source's images, or to all classes' where it moves more of those."""
    reach = _reach(subject, stamper, held_out, found)
    return Best(found.push, max(found.success, reach.wide), _means(stamper, found, reach))


def _means(stamper: Stamper, found: _Found, reach: _Reach) -> Means:
    """Return which patch it is, and whose images it moves, by the share of other classes' that it does."""
    source = None if reach.wide >= EVERYWHERE else found.source
    only_there = source is not None and reach.beside is not None and reach.beside <= PARTICULAR
    particular = only_there and found.stamp.checkered and found.success >= SURE
    return Means(stamper.words(found.stamp), source, particular)


def _reach(subject: Subject, stamper: Stamper, held_out: Images, found: _Found) -> _Reach:
    """Return the shares of other classes' images that a patch moves where it moves its source's."""
    others = held_out[held_out.labels != found.target][:WIDE_IMAGES]
    moved = sent(finite_logits(subject, stamper.put(others.images, [found.stamp])[0]), found.target).float()
    beside = moved[others.labels != found.source]
    return _Reach(float(moved.mean()), float(beside.mean()) if len(beside) else None)


def _pictures(subject: Subject, stamper: Stamper, held_out: Images, found: _Found) -> tuple[Artefact, ...]:
    if found.push < SHOWN_FROM:
        return ()
    clean = held_out.images[held_out.labels == found.source][: pictures.EXAMPLES]
    return pictures.of_change(
        subject, lambda images: stamper.put(images, [found.stamp])[0], found.target, clean, found.source
    )


def _shares(counts: Sequence[int]) -> Tensor:
    """Return what makes the mean of so many rows after each other, (S, N): a row is one source's, N are all of them."""
    each = torch.tensor(counts)[:, None]
    source = torch.arange(len(counts))[:, None]
    return (source == source[:, 0].repeat_interleave(each[:, 0])) / each
