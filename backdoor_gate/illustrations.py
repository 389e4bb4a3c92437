"""What shows the evidence to the eye and is none itself: pictures of triggers, and where a trigger moves images to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model takes one image for, and with what probability in [0, 1]."""

    class_index: int
    probability: float


@dataclass(frozen=True, eq=False, slots=True)
class Artefact:
    """An array that shows the evidence, such as the recovered trigger of one class.

    `name` is one of `trigger` (C,H,W: the trigger on a mid-grey image, in the model's input range), `mask` (1,H,W in
    [0, 1]), `pattern` (C,H,W), `clean` (C,H,W: an example image), `triggered` (C,H,W: the same image with the
    trigger). Always float32.
    """

    name: str
    class_index: int
    array: NDArray[np.float32]
    source_class: int | None = None
    """The class that the trigger moves, where it is made for one alone."""
    example: int = 0
    """Which of the example images, counted for each trigger; 0 where the array is none of them."""
    prediction: Prediction | None = None
    """Of an example image, where it is known."""


@dataclass(frozen=True, eq=False, slots=True)
class Embedding:
    """Where clean images, and some of the same with a trigger, lie within the network, on principal components.

    A scan has none where no trigger was found, or no time was left for it.
    """

    components: NDArray[np.float32]
    """(N, P) coordinates in [-1, 1], the widest component first, of length one."""
    shares: tuple[float, ...]
    """(P,) of the whole variance, in [0, 1]."""
    labels: tuple[int, ...]
    """(N,) the class of each image, of a triggered one before it got the trigger."""
    triggered: tuple[bool, ...]
    """(N,) whether the image has the trigger: first all clean ones, then as many of the first of them as have it."""
    penultimate: bool
    """Whether these are the input of the final linear layer; else the logits."""
    detector: str
    """Whose trigger it is."""
    target: int
    source: int | None
    """As `Artefact.source_class`."""
    seconds: float = 0.0
    """Wall time that it took."""
    model_passes: int = 0
    """Images put through the model for it."""
