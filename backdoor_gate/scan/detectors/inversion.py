"""Trigger inversion with any family: what every detector of that kind shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from backdoor_gate.records import Artefact, Cost, Evidence, Inconclusive, Measured
from backdoor_gate.scan.triggers import Images, Inversion, InversionBudget, all_to_one, invert, success_rates
from backdoor_gate.scan.triggers.memory import activation_bytes_per_image
from backdoor_gate.scan.triggers.replay import FACTORS, SETTLING_IMAGES

if TYPE_CHECKING:
    from backdoor_gate.scan.detectors.interface import Context
    from backdoor_gate.scan.triggers.arms import Arms
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

SHOWN = 2
"""Classes whose triggers are kept as pictures: the weakest working one and the runner-up."""

FEWEST_HELD_OUT = 5
"""Held-out images below which a success rate says nothing."""


@dataclass(frozen=True, eq=False, slots=True)
class _Group:
    """One group of arms, measured."""

    inversion: Inversion
    success: Tensor


class InversionDetector:
    """Measures, for every class, the weakest trigger of one family that sends the other classes' images to it."""

    name: ClassVar[str]
    family: ClassVar[type[TriggerFamily]]

    def planned_passes(self, context: Context) -> int:
        """Estimate the images put through the network."""
        optimising = int(context.settings["steps"] * context.settings["images"])
        per_class = optimising + len(FACTORS) * SETTLING_IMAGES + len(context.probes.held_out)
        return context.subject.num_classes * per_class

    def measure(self, context: Context) -> Evidence:
        """Invert all classes in groups that fit the memory, then replay each trigger on the held-out images."""
        before = context.subject.passes
        family = self.family(context.subject.spec)
        arms = all_to_one(context.subject.num_classes).to(context.subject.device)
        per_group = self._group_size(context, family)
        groups = [self._run(context, family, arms, at, per_group) for at in range(0, len(arms), per_group)]
        strength = torch.cat([group.inversion.strength for group in groups]).cpu()
        works = torch.cat([group.inversion.works for group in groups]).cpu()
        success = torch.cat([group.success for group in groups]).cpu()
        parameters = tuple(
            torch.cat(tensors) for tensors in zip(*(group.inversion.parameters for group in groups), strict=True)
        )
        cost = Cost(model_passes=context.subject.passes - before, images_used=len(context.probes))
        if not (strength.isfinite().all() and all(p.isfinite().all() for p in parameters)):
            return Inconclusive(self.name, "the optimisation did not stay finite", cost)
        return Measured(
            detector=self.name,
            values=tuple(float(s) if ok else None for s, ok in zip(strength, works, strict=True)),
            success=self._rates(success, arms, context),
            verified=context.probes.clean,
            cost=cost,
            artefacts=self._pictures(context, family, parameters, torch.where(works, strength, torch.inf)),
        )

    def _group_size(self, context: Context, family: TriggerFamily) -> int:
        """Return how many arms fit into the memory at once: from shapes, never from timing."""
        count = min(int(context.settings["images"]), len(context.probes.optimise))
        per_image = activation_bytes_per_image(context.subject.logits, family, context.probes.optimise[:2])
        return max(1, min(context.subject.num_classes, context.activation_bytes // (per_image * count)))

    def _run(self, context: Context, family: TriggerFamily, arms: Arms, at: int, size: int) -> _Group:
        group = arms[at : at + size]
        steps, last = context.settings["steps"], at + len(group) - 1
        total = steps * -(-len(arms) // size)
        inversion = invert(
            context.subject.logits,
            family,
            group,
            context.probes.optimise,
            InversionBudget(steps, context.settings["images"]),
            torch.Generator().manual_seed(context.seed),  # the same for every group: the arms stay comparable
            lambda done: context.report(at // size * steps + done, total, at, last),
        )
        success = success_rates(context.subject.logits, family, inversion.parameters, group, context.probes.held_out)
        return _Group(inversion, success)

    def _rates(self, success: Tensor, arms: Arms, context: Context) -> tuple[float | None, ...]:
        counts = arms.weights(context.probes.held_out.labels).sum(dim=1).cpu()
        return tuple(
            float(rate) if count >= FEWEST_HELD_OUT else None for rate, count in zip(success, counts, strict=True)
        )

    def _pictures(
        self, context: Context, family: TriggerFamily, parameters: Parameters, ranking: Tensor
    ) -> tuple[Artefact, ...]:
        """Show the weakest working triggers: alone, and on an image of another class."""
        shown = [int(k) for k in ranking.argsort() if ranking[k].isfinite()][:SHOWN]
        return tuple(
            artefact
            for k in shown
            for artefact in self._picture(family, tuple(p[k : k + 1] for p in parameters), k, context.probes.held_out)
        )

    def _picture(self, family: TriggerFamily, one: Parameters, k: int, images: Images) -> list[Artefact]:
        named = {"trigger": family.portrait(one)[0], **self.extra_pictures(family, one)}
        others = (images.labels != k).nonzero()[:1, 0]
        if len(others):
            example = images.images[others]
            named["clean"], named["triggered"] = example[0], family.apply(one, example)[0, 0]
        return [Artefact(name, k, tensor.detach().float().cpu().numpy()) for name, tensor in named.items()]

    def extra_pictures(self, family: TriggerFamily, one: Parameters) -> dict[str, Tensor]:
        """Return further pictures of one trigger by name; none unless a family has parts worth showing."""
        return {}
