"""Who is believed about the model's input and output: the policy, then the clean data, last the candidate."""

from __future__ import annotations

import pytest
from support import digits

from backdoor_gate.candidate_facts import Signature, TensorSignature
from backdoor_gate.errors import GateError, RefusedError, UnmeasuredError, UsageError
from backdoor_gate.records import Declared, InputSpec
from backdoor_gate.scan.data.clean import CleanImages
from backdoor_gate.scan.data.contract import DataShape, agree, shape_of

GREY, COLOUR = (1, 8, 8), (3, 8, 8)
POLICY, NO_POLICY = Declared(num_classes=10, shape=GREY), Declared()


def signed(*shape: int, classes: int | None = None) -> Signature:
    """Return a signature for batches of that shape, without an output where no classes are given."""
    output = None if classes is None else TensorSignature((-1, classes), "float32")
    return Signature(TensorSignature((-1, *shape), "float32"), output)


@pytest.mark.parametrize(
    ("declared", "data", "signature", "expected"),
    [
        (POLICY, None, None, (GREY, 10)),
        (POLICY, DataShape(GREY, 10), signed(*GREY, classes=10), (GREY, 10)),
        (POLICY, DataShape(GREY, 4), None, (GREY, 10)),  # a sample of the data may lack the last classes
        (NO_POLICY, DataShape(GREY, 10), None, (GREY, 10)),  # whoever has more classes than that says so in the policy
        (NO_POLICY, DataShape(GREY, None), signed(*GREY, classes=10), (GREY, 10)),
        (NO_POLICY, DataShape(GREY, 10), signed(-1, 8, -1, classes=10), (GREY, 10)),
        (NO_POLICY, None, signed(*COLOUR, classes=10), (COLOUR, 10)),
        (NO_POLICY, None, signed(*COLOUR), (COLOUR, None)),
        (NO_POLICY, None, signed(*COLOUR, classes=-1), (COLOUR, None)),
        (Declared(shape=GREY), DataShape(GREY, 3), None, (GREY, 3)),
        (Declared(num_classes=10), None, signed(*COLOUR), (COLOUR, 10)),
        (POLICY, None, Signature(None, None), (GREY, 10)),
    ],
)
def test_what_is_agreed(
    declared: Declared,
    data: DataShape | None,
    signature: Signature | None,
    expected: tuple[tuple[int, ...], int | None],
) -> None:
    spec, classes = agree(declared, data, signature)
    assert (spec.shape, classes) == expected


@pytest.mark.parametrize(
    ("declared", "data", "signature", "error", "where"),
    [
        # The pipeline contradicts itself: nothing is judged.
        (POLICY, DataShape(COLOUR, 10), None, UsageError, "model.input.shape"),
        (POLICY, DataShape(GREY, 11), None, UsageError, "model.num_classes"),
        # The candidate contradicts the pipeline: it is refused.
        (POLICY, None, signed(*COLOUR), RefusedError, "MLmodel"),
        (NO_POLICY, DataShape(GREY, 10), signed(*COLOUR), RefusedError, "MLmodel"),
        (POLICY, None, signed(*GREY, classes=11), RefusedError, "MLmodel"),
        (POLICY, None, signed(*GREY, classes=9), RefusedError, "MLmodel"),
        (NO_POLICY, DataShape(GREY, 10), signed(*GREY, classes=9), RefusedError, "MLmodel"),
        # Outputs that no image has are not the candidate's to add.
        (NO_POLICY, DataShape(GREY, 10), signed(*GREY, classes=11), UnmeasuredError, "model.num_classes"),
        # Nobody says, or it takes no images.
        (NO_POLICY, None, None, UnmeasuredError, "model.input.shape"),
        (NO_POLICY, None, signed(3, -1, -1), UnmeasuredError, "model.input.shape"),
        (NO_POLICY, None, Signature(None, None), UnmeasuredError, "model.input.shape"),
        (NO_POLICY, None, signed(64), UnmeasuredError, "MLmodel"),
        (POLICY, None, signed(64), UnmeasuredError, "MLmodel"),
        # Normalisation for another number of channels.
        (Declared(shape=GREY, mean=(0.1, 0.2, 0.3), std=(1.0,)), None, None, UsageError, "model.input.normalize.mean"),
        (Declared(shape=GREY, mean=(0.1,), std=(1.0, 2.0)), None, None, UsageError, "model.input.normalize.std"),
    ],
)
def test_what_is_a_contradiction(
    declared: Declared, data: DataShape | None, signature: Signature | None, error: type[GateError], where: str
) -> None:
    with pytest.raises(error) as caught:
        agree(declared, data, signature)
    assert caught.value.where == where
    assert caught.value.hint


def test_range_and_normalisation_are_the_policys() -> None:
    declared = Declared(shape=COLOUR, low=-1.0, high=2.0, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    spec, _ = agree(declared, None, signed(*COLOUR))
    assert spec == InputSpec(COLOUR, -1.0, 2.0, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def clean(count: int, *, labelled: bool = True) -> CleanImages:
    images = digits.clean_images()[:count]
    return CleanImages(images.images, images.labels if labelled else None)


def test_what_the_data_says_of_the_model() -> None:
    shape = shape_of(clean(300))
    assert (shape.shape, shape.least_classes) == ((1, 16, 16), 10)
    assert shape_of(clean(3, labelled=False)).least_classes is None
    assert shape_of(None) is None
