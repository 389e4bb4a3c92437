"""The engine: all arms of a family in one batch, the weakest trigger that works kept for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.scan.adam import Adam
from backdoor_gate.scan.triggers.images import Images, draw
from backdoor_gate.scan.triggers.replay import Logits, resolve, settle
from backdoor_gate.scan.triggers.schedule import CostSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from backdoor_gate.scan.triggers.arms import Arms
    from backdoor_gate.scan.triggers.families.interface import Parameters, TriggerFamily

BETAS = (0.5, 0.9)
"""Adam's decay rates in Neural Cleanse's public code: short memories suit a moving cost."""

LAST_STEPS, SUCCESS_COUNTS = 8, 2.0
"""Of a short search: the steps that it is judged by, and how much their success counts beside the log strength."""


CHOSEN_AFTER = 2
"""Share of the steps, as a divisor, after which an arm that may go to several classes has to choose one. Until then it
is drawn to the one that needs the weakest trigger; later its images would still go to several, and no trigger work."""


@dataclass(frozen=True, slots=True)
class InversionBudget:
    """What every arm gets, the same for all of them, so that their strengths can be compared."""

    steps: int
    images: int
    """Per step, shared by all arms."""


@dataclass(frozen=True, eq=False, slots=True)
class Inversion:
    """The weakest working trigger of each arm.

    Attributes:
        strength: (A,) in the family's unit; of the last trigger tried where none worked.
        works: (A,) bool, whether it reaches the required success on the images that it was optimised on.
        parameters: of the triggers.
        arms: with the target where each has ended up.
    """

    strength: Tensor
    works: Tensor
    parameters: Parameters
    arms: Arms


class _Weakest:
    """Keep-the-best: the weakest trigger per arm among those that work."""

    def __init__(self) -> None:
        self.parameters: Parameters = ()
        self.strength = torch.tensor(torch.inf)

    @torch.no_grad()
    def offer(self, parameters: Parameters, strength: Tensor, works: Tensor) -> None:
        if not self.parameters:
            self.parameters = tuple(p.detach().clone() for p in parameters)
            self.strength = torch.full_like(strength, torch.inf)
        better = works & (strength < self.strength)
        self.strength = torch.where(better, strength, self.strength)
        for kept, new in zip(self.parameters, parameters, strict=True):
            kept.copy_(torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, kept))

    def or_last(self, last: Parameters, strength: Tensor) -> Parameters:
        """Return the kept triggers; the last one tried for the arms where none worked."""
        self.offer(last, strength, ~self.strength.isfinite())
        return self.parameters


def cross_entropy(output: Tensor, arms: Arms) -> Tensor:
    """Return -log p(target), or -log of the share of all classes that will do, of each image: (A, N, K) → (A, N)."""
    if arms.among is None:
        target = arms.target[:, None].expand(output.shape[:2])
        return F.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none").view(target.shape)
    log_probability = F.log_softmax(output, dim=2).masked_fill(~arms.among[:, None], -torch.inf)
    return -log_probability.logsumexp(dim=2)


def step_loss(  # noqa: PLR0913, PLR0917 (the terms of the loss)
    logits: Logits, family: TriggerFamily, parameters: Parameters, arms: Arms, batch: Images, cost: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weigh success against strength for every arm.

    Returns:
        The loss, summed over the arms (whose gradients are independent); the success rates (A,) on the batch; the
        strengths (A,).
    """
    triggered = family.apply(parameters, batch.images)  # (A, N, C, H, W)
    arm_count, count = triggered.shape[:2]
    output = logits(triggered.flatten(0, 1))  # (A·N, K)
    weight = arms.weights(batch.labels)  # (A, N)
    weight = weight / weight.sum(dim=1, keepdim=True).clamp_min(1)
    success = (arms.reached(output.detach().argmax(dim=1).view(arm_count, count)) * weight).sum(dim=1)
    entropy = cross_entropy(output.view(arm_count, count, -1), arms)
    strength = family.strength(parameters)
    loss = (entropy * weight).sum() + (cost * strength).sum()
    return loss, success, strength.detach()


def _optimise(  # noqa: PLR0913, PLR0917 (the problem, the budget, the randomness)
    logits: Logits,
    family: TriggerFamily,
    arms: Arms,
    images: Images,
    budget: InversionBudget,
    generator: torch.Generator,
    observe: Callable[[Parameters, Tensor, Tensor, Tensor], None],
    on_step: Callable[[int], None],
) -> tuple[Parameters, Arms]:
    """Optimise one trigger per arm; return the last ones, and the arms with the one target that each has ended up at.

    Before each step `observe` is told the triggers as they are, their strengths (A,), their success on the step's
    images (A,), and whether they work by the schedule's running success (A,): none does that has several targets yet.

    Raises:
        FloatingPointError: a trigger went to NaN or infinity on the way; then nothing is known of that arm.
    """
    device = images.labels.device
    parameters = tuple(p.to(device).requires_grad_() for p in family.start(len(arms), generator))
    optimiser = Adam(parameters, family.learning_rate, BETAS)
    schedule = CostSchedule(len(arms), family.schedule, device)
    drawn = draw(arms, images.labels, budget.images, budget.steps, generator).to(device)
    for done, chosen in enumerate(drawn, 1):
        batch = images[chosen]
        loss, success, strength = step_loss(logits, family, parameters, arms, batch, schedule.cost)
        schedule.update(success)
        works = schedule.success >= family.schedule.bar
        observe(parameters, strength, success, works if arms.among is None else torch.zeros_like(works))
        optimiser.forget_gradients()
        torch.autograd.backward(loss)
        optimiser.step()
        on_step(done)
        if done == budget.steps // CHOSEN_AFTER:
            arms = resolve(logits, family, parameters, arms, images)
    if not all(p.isfinite().all() for p in parameters):  # once: what is NaN stays so, and a look waits for the GPU
        raise FloatingPointError("the optimisation did not stay finite")
    return parameters, arms


def invert(  # noqa: PLR0913, PLR0917 (the problem, the budget, the randomness)
    logits: Logits,
    family: TriggerFamily,
    arms: Arms,
    images: Images,
    budget: InversionBudget,
    generator: torch.Generator,
    on_step: Callable[[int], None] = lambda _: None,
) -> Inversion:
    """Optimise one trigger per arm, all in one batch.

    Args:
        logits: the frozen network; a fast and coarse form of it will do, since how often the triggers work is measured
            afterwards, see `success_rates`.
        family: the kind of trigger.
        arms: A pairs of sources and target.
        images: those to optimise on; each step draws `budget.images` of them, the same for every arm, or of its own
            source class for arms that have one.
        budget: steps and images per step.
        generator: of the start and of the batches, on CPU.
        on_step: called with the number of steps done.

    Raises:
        FloatingPointError: a trigger went to NaN or infinity on the way; then nothing is known of that arm.

    Source: Neural Cleanse's loop with the dynamic cost, for all classes at once (Wang et al., IEEE S&P 2019).
    """
    weakest = _Weakest()

    def observe(parameters: Parameters, strength: Tensor, _: Tensor, works: Tensor) -> None:
        weakest.offer(parameters, strength, works)

    parameters, arms = _optimise(logits, family, arms, images, budget, generator, observe, on_step)
    with torch.no_grad():
        kept = weakest.or_last(parameters, family.strength(parameters))
        settled, works = settle(logits, family, kept, arms, images)
        return Inversion(family.strength(settled), works, settled, arms)


def approach(  # noqa: PLR0913, PLR0917 (the problem, the budget, the randomness)
    logits: Logits,
    family: TriggerFamily,
    arms: Arms,
    images: Images,
    budget: InversionBudget,
    generator: torch.Generator,
    on_step: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Optimise as `invert` does, and say how promising each arm is by the last steps: (A,), the lowest first.

    On a logarithmic scale: a trigger that always works counts for as much as one that never does and is e^-2 as strong.
    No trigger comes of it, and nothing is replayed.

    Raises:
        FloatingPointError: as `invert`.
    """
    seen: list[Tensor] = []

    def observe(_: Parameters, strength: Tensor, success: Tensor, __: Tensor) -> None:
        seen.append(strength.clamp_min(torch.finfo(strength.dtype).tiny).log() - SUCCESS_COUNTS * success)

    _optimise(logits, family, arms, images, budget, generator, observe, on_step)
    return torch.stack(seen[-LAST_STEPS:]).mean(dim=0)
