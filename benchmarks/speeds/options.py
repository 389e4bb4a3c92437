"""What each setting of the network's passes is worth, one after the other, and what was tried and not taken."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.scan.network.folding import fold
from backdoor_gate.scan.network.precision import has_instructions
from benchmarks.speeds.clock import in_turn, least, ratio, timed
from benchmarks.speeds.efficiency import IMAGES, bare_pass, repeated
from benchmarks.speeds.networks import KINDS, loaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from benchmarks.speeds.clock import Spent

BATCH = {"cnn": 120, "wrn16": 120, "resnet18": 36}


def options(name: str, rounds: int, seed: int) -> dict[str, Any]:
    """Time forward and input gradient with one more setting each time; return images per second and the gains."""
    kind, batch = KINDS[name], BATCH[name]
    images = torch.rand((batch, *kind.shape), generator=torch.Generator().manual_seed(seed))
    last = torch.channels_last
    steps: dict[str, Callable[[], Spent]] = {}
    trained = loaded(kind.build, seed).network.requires_grad_(True)
    steps["weights' gradients too, NCHW"] = _timing(_both_gradients(copy.deepcopy(trained), images.clone()), batch)
    network = trained.requires_grad_(False)
    steps["frozen"] = _timing(bare_pass(copy.deepcopy(network), _leaf(images), torch.float32), batch)
    network = network.to(memory_format=last)
    steps["NHWC"] = _timing(bare_pass(copy.deepcopy(network), _leaf(images, last), torch.float32), batch)
    fold(network, lambda: network(images))
    steps["normalisations folded"] = _timing(bare_pass(network, _leaf(images, last), torch.float32), batch)
    if has_instructions(torch.device("cpu")):
        steps["bfloat16"] = _timing(bare_pass(network, _leaf(images, last), torch.bfloat16), batch)
    samples = in_turn(steps, rounds)
    rates = {step: least(found).rates(1) for step, found in samples.items()}
    gains = {step: ratio(samples[step], samples[before])["per_cpu_second"] for before, step in pairwise(samples)}
    return {"network": kind.title, "batch": batch, "images_per_second": rates, "gain_over_the_one_before": gains}


def details(rounds: int, seed: int) -> dict[str, Any]:
    """Time what the optimiser's implementations and inference mode are worth to the small network."""
    kind, arms = KINDS["cnn"], 10
    found: dict[str, Callable[[], Spent]] = {}
    for name, flags in {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}.items():
        parameters = [torch.rand((arms, 1, 28, 28), requires_grad=True) for _ in range(2)]
        for parameter in parameters:
            parameter.grad = torch.rand_like(parameter)
        optimiser = torch.optim.Adam(parameters, lr=0.1, **flags)  # type: ignore[arg-type]
        found[f"Adam, {name}"] = timed(_often(optimiser.step, 20))
    network, images = loaded(kind.build, seed).network, torch.rand(arms * IMAGES, *kind.shape)
    for mode in (torch.no_grad, torch.inference_mode):
        found[f"forward, {mode.__name__}"] = timed(_under(mode, network, images))
    samples = in_turn(found, rounds)
    often = {name: 20 if "Adam" in name else 1 for name in found}
    milliseconds = {name: round(1000 * least(taken).cpu / often[name], 3) for name, taken in samples.items()}
    return {"network": kind.title, "cpu_milliseconds": milliseconds}


def _timing(run: Callable[[], object], batch: int) -> Callable[[], Spent]:
    return repeated(run, batch, wanted=batch)


def _leaf(images: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    return images.clone(memory_format=memory_format).requires_grad_()


def _both_gradients(network: nn.Module, images: Tensor) -> Callable[[], object]:
    weights = list(network.parameters())
    given = images.requires_grad_()
    return lambda: torch.autograd.grad(network(given).sum(), [given, *weights])


def _often(run: Callable[[], object], times: int) -> Callable[[], None]:
    def all_of_them() -> None:
        for _ in range(times):
            run()

    return all_of_them


def _under(mode: Callable[[], Any], network: nn.Module, images: Tensor) -> Callable[[], None]:
    def run() -> None:
        with mode():
            network(images)

    return run
