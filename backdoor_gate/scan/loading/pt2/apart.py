"""Whether a program answers each image by itself, by what a search can follow.

The gate measures in batches of hundreds, and production mostly asks for one image. A program that knows how many images
it has, or lets one see the others, can be one network here and another there; and one that decides by comparing or
rounding what it sees is flat where a search looks for a slope.

So each operator is tried by itself, for one, two and three images: what comes out for several has to be what comes out
for each, side by side. Random numbers take the place of whatever it would work on, since a network's own values can be
such that nothing shows until a trigger comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.errors import UnmeasuredError
from backdoor_gate.scan.loading.naming import shown
from backdoor_gate.scan.loading.pt2.arguments import Ref, references
from backdoor_gate.scan.loading.pt2.layouts import Place, joined, place_of
from backdoor_gate.scan.loading.pt2.operators import (
    BY_POSITION,
    BY_ROW_AND_COLUMN,
    INTEGER,
    SIZED,
    STEPWISE,
    WITH_OWN_STATISTICS,
    WITHOUT_VALUES,
)
from backdoor_gate.scan.loading.pt2.sizes import SIZES, Count, Unknown, counted, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from backdoor_gate.scan.loading.pt2.graph import Graph, Step

    Run = Callable[[Step, Mapping[str, Any]], tuple[Any, ...]]

BATCHES = ((0,), (1,), (2,), (0, 1), (0, 1, 2))
"""Which of three images are in each trial's batch: the first three are alone, the others in company."""

ENDLESS = (1 << 63) - 1
"""End of a slice up to the last one."""

LEAST, MOST = 0.1, 1.0
"""Range of the random numbers: in the domain of every operator."""

HINT = "upload the weights as safetensors, and name the callable that builds the network under model.architecture"


@dataclass(frozen=True, eq=False, slots=True)
class PerImage:
    """A value with a part for each image.

    Attributes:
        one: as it is for one image; where it does not depend on the image, with its own numbers.
        place: where the images are in it.
        seen: whether it depends on the image.
    """

    one: Tensor
    place: Place
    seen: bool

    def random(self) -> list[Tensor]:
        """Return parts for three images: random where they are floats, else its own."""
        if not self.one.is_floating_point():
            return [self.one] * 3
        return [_random_like(self.one) for _ in range(3)]


def check_apart(graph: Graph, tensors: Mapping[str, Tensor], shape: tuple[int, int, int], run: Run, where: str) -> None:
    """Accept a program that keeps the images of a batch apart, and that a gradient can follow.

    Args:
        graph: the checked program.
        tensors: its weights and constants by graph value, on CPU.
        shape: (C, H, W) of an image.
        run: executes a step on values and returns its results, one for each of its outputs.
        where: the file, for messages.

    Raises:
        UnmeasuredError: it mixes images, counts them, or decides by steps.
    """
    values: dict[str, Any] = dict(tensors)
    values[graph.input] = PerImage(_random_like(torch.empty(1, *shape)), Place(0), seen=True)
    # A step that writes into a value may do so through another name of it.
    everything_seen = any(step.writes for step in graph.steps)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for step in graph.steps:
            used = [values[name] for name in (*references(step.arguments), *references(step.positional))]
            results = _results(step, used, values, run)
            if step.writes and isinstance(results[0], Unknown):
                raise _error(results[0], where)
            values.update(zip(step.outputs, results, strict=True))
            if everything_seen:
                values.update({name: _as_seen(values[name]) for name in step.outputs})
            for name in step.frees:
                values.pop(name, None)
    output = values[graph.output]
    if isinstance(output, PerImage) and output.place != Place(0):
        output = Unknown("the output", by_steps=False)
    if isinstance(output, Unknown):
        raise _error(output, where)


def _results(step: Step, used: list[Any], values: Mapping[str, Any], run: Run) -> tuple[Any, ...]:
    """Return what a step makes of its values: constants of constants, or values that have a part for each image.

    What must not be used makes all that is made of it so; exporters leave some of that lying about.
    """
    if not any(isinstance(value, (PerImage, Count, Unknown)) for value in used):
        return run(step, values)
    if step.label in INTEGER:
        operands = [values[operand.name] if isinstance(operand, Ref) else operand for operand in step.positional]
        return (counted(step.label.rpartition(".")[2], operands),)
    if step.label in SIZES and isinstance(used[0], PerImage):
        return (size_of(step, used[0].one, used[0].place),)
    unknown = next((value for value in used if isinstance(value, Unknown)), None)
    if unknown is None and any(_out_of_place(step, value) for value in used):
        unknown = Unknown(step.label, by_steps=False)
    return _tried(step, values, run) if unknown is None else (unknown,) * len(step.outputs)


def _out_of_place(step: Step, value: Any) -> bool:
    """Tell whether a value must not be given to an operator, though with three images nothing of that might show."""
    if isinstance(value, Count):
        return step.label not in SIZED
    if not isinstance(value, PerImage):
        return False
    if step.label in WITH_OWN_STATISTICS:
        return value.place != Place(0)
    if step.label in BY_ROW_AND_COLUMN:
        return value.place.axis >= value.one.dim() - 2
    return step.label in BY_POSITION and not _whole(step) and value.place.axis in _axes(step, value.one.dim())


def _whole(step: Step) -> bool:
    """Tell whether a step is a slice that leaves nothing out, as exporters write it for a colon."""
    slices = step.label == "torch.ops.aten.slice.Tensor"
    start, end, every = (step.arguments.get(name, usual) for name, usual in (("start", 0), ("end", None), ("step", 1)))
    return slices and start in (0, None) and every == 1 and (end is None or (isinstance(end, int) and end >= ENDLESS))


def _axes(step: Step, dimensions: int) -> set[int]:
    """Return the axes that an operator of `BY_POSITION` works along: all, where a value of the graph says which."""
    given = next((step.arguments[name] for name in ("dim", "dims", "dimension") if name in step.arguments), 0)
    axes = (given or range(dimensions)) if isinstance(given, list) else [given]
    return {axis % dimensions for axis in axes} if all(isinstance(axis, int) for axis in axes) else {*range(dimensions)}


def _tried(step: Step, values: Mapping[str, Any], run: Run) -> tuple[Any, ...]:
    """Return the results of a step that is given parts of images, after trying it on several."""
    names = {*references(step.arguments), *references(step.positional)}
    random = {name: _random(values[name]) for name in sorted(names)}
    trials = [run(step, {name: _of_batch(values[name], random[name], batch) for name in names}) for batch in BATCHES]
    seen = any(isinstance(values[name], PerImage) and values[name].seen for name in names)
    own = {name: _of_batch(values[name], _own(values[name]), (0,)) for name in names}
    exact = trials[0] if seen else run(step, own)
    return tuple(_result(step.label, *found, seen=seen) for found in zip(zip(*trials, strict=True), exact, strict=True))


def _result(label: str, trials: tuple[Any, ...], one: Any, *, seen: bool) -> Any:
    """Return one of an operator's results, by what came out of the trials, and its own for one image."""
    if not all(isinstance(found, torch.Tensor) for found in trials):
        return one if all(found == one for found in trials) else Unknown(label, by_steps=False)
    if all(found.shape == trials[0].shape and torch.equal(found, trials[0]) for found in trials):
        # Whether all numbers are above zero, say, is the same of all random ones, and not of all images.
        return Unknown(label, by_steps=True) if seen and label not in WITHOUT_VALUES else one
    place = place_of(trials[:3], trials[3:])
    if place is None:
        return Unknown(label, by_steps=False)
    if seen and (label in STEPWISE or not one.is_floating_point()):
        return Unknown(label, by_steps=True)
    return PerImage(one, place, seen)


def _random(value: Any) -> Any:
    """Return random numbers in place of a value's own where they are floats: three parts of what images have."""
    if isinstance(value, PerImage):
        return value.random()
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return _random_like(value) if floating else value


def _own(value: Any) -> Any:
    return [value.one] * 3 if isinstance(value, PerImage) else value


def _of_batch(value: Any, parts: Any, batch: tuple[int, ...]) -> Any:
    """Return a value as it is for a batch, the operator's own to write into."""
    if isinstance(value, Count):
        return value.per_image * len(batch)
    if isinstance(value, PerImage):
        return joined([parts[image] for image in batch], value.place)
    return parts.clone() if isinstance(parts, torch.Tensor) else parts


def _random_like(tensor: Tensor) -> Tensor:
    return LEAST + (MOST - LEAST) * torch.rand(tensor.shape)


def _as_seen(value: Any) -> Any:
    return PerImage(value.one, value.place, seen=True) if isinstance(value, PerImage) else value


def _error(found: Unknown, where: str) -> UnmeasuredError:
    reason = "its answer for one image hangs on the others in the batch, or on how many there are"
    if found.by_steps:
        reason = "it decides by comparing or rounding what it sees, which no search for triggers can follow"
    return UnmeasuredError(f"pt2: {reason} ({shown(found.cause)})", where=where, hint=HINT)
