"""Pictures of triggers: on several images, with what the network takes these for, and never in the way of evidence."""

from __future__ import annotations

import torch
from support import digits

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.data import probes
from backdoor_gate.scan.detectors.groups import Inverted
from backdoor_gate.scan.detectors.interface import Context, Weakest
from backdoor_gate.scan.detectors.pictures import EXAMPLES, pictures, planned_passes
from backdoor_gate.scan.network.precision import ROUNDINGS
from backdoor_gate.scan.network.subject import Subject
from backdoor_gate.scan.triggers import Arms, all_to_one, pairs
from backdoor_gate.scan.triggers.families import Spectral

SPEC = InputSpec((1, 16, 16))
HELD_OUT = probes.from_clean(digits.clean_images(), seed=0).held_out


def inverted(arms: Arms, family: Spectral) -> Inverted:
    count = len(arms)
    strength = torch.linspace(0.1, 1.0, count)
    success = torch.full((count,), 0.75)
    parameters = family.start(count, torch.Generator().manual_seed(0))
    return Inverted(arms, strength, torch.ones(count, dtype=torch.bool), success, success * 40, parameters)


def shown(arms: Arms, *, from_source: bool, deadline: float = float("inf")) -> tuple[list, list[Weakest], Context]:
    family, kept = Spectral(SPEC), []
    subject = Subject(digits.loaded(digits.trained()), SPEC, 10, torch.device("cpu"))
    subject.deadline = deadline
    context = Context(subject, probes.from_clean(digits.clean_images(), 0), {}, 0, 1 << 20, keep=kept.append)
    found = pictures(context, family, inverted(arms, family), [1, 2], HELD_OUT, from_source=from_source)
    return list(found), kept, context


def test_each_trigger_is_shown_on_images_of_several_classes() -> None:
    found, _, context = shown(all_to_one(10), from_source=False)
    clean = [a for a in found if a.name == "clean" and a.class_index == 1]
    assert [a.example for a in clean] == list(range(EXAMPLES))
    taken = [a.prediction.class_index for a in clean]
    assert len(set(taken)) == EXAMPLES
    assert 1 not in taken
    assert context.subject.passes - planned_passes(2) in range(
        8, 8 * (5 + ROUNDINGS), 8
    )  # the first looks at the output besides
    model = digits.trained()
    for artefact in found:
        if artefact.name in {"clean", "triggered"}:
            share, k = model(torch.from_numpy(artefact.array)[None]).softmax(dim=1).max(dim=1)
            assert artefact.prediction.class_index == int(k)
            assert abs(artefact.prediction.probability - float(share)) < 0.01


def test_of_a_pair_the_source_is_named_and_shown() -> None:
    found, kept, _ = shown(pairs(torch.tensor([7]), 10), from_source=True)
    assert {a.source_class for a in found} == {7}
    assert [a.prediction.class_index for a in found if a.name == "clean"].count(7) >= 6
    assert (kept[0].source, kept[0].target) == (7, 9)


def test_the_first_is_kept_with_its_share_of_the_median() -> None:
    _, (kept,), _ = shown(all_to_one(10), from_source=False)
    strength = torch.linspace(0.1, 1.0, 10)
    assert kept.target == 1
    assert kept.moves.tolist() == [k != 1 for k in range(10)]
    assert abs(kept.share - float(strength[1] / strength.median())) < 1e-6
    assert kept.success == 0.75


def test_out_of_time_the_pictures_are_there_without_predictions() -> None:
    found, _, _ = shown(all_to_one(10), from_source=False, deadline=0.0)
    assert {a.name for a in found} == {"trigger", "clean", "triggered"}
    assert all(a.prediction is None for a in found)
