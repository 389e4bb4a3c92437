"""Holds what a policy declares of the images against the clean data that it names, as far as headers tell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from backdoor_gate.errors import UsageError
from backdoor_gate.sources import is_artifact
from backdoor_gate.stored_images import FORM, image_shape, shape_hint, stored_set

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backdoor_gate.policy.plan import ModelPlan, Policy
    from backdoor_gate.stored_images import StoredSet


def contradictions(policy: Policy) -> Iterator[UsageError]:
    """Yield what contradicts the clean data, for each entry whose data is an npz file on this machine.

    Folders of images and artifacts are left to the scan.
    """
    for name, plan in policy.entries:
        stored = None if plan.data is None or is_artifact(plan.data) else stored_set(Path(plan.data))
        for key, what, hint in _contradictions(plan, stored) if stored else ():
            yield UsageError(f"{key}: {what}", where=policy.place(key, name), hint=hint)


def _contradictions(plan: ModelPlan, stored: StoredSet) -> Iterator[tuple[str, str, str]]:
    """Yield the policy's key, what is wrong, and what to do."""
    declared, images, labels = plan.declared, stored.images, stored.labels
    if images is None:
        yield "data.clean", f"no array 'images' in {plan.data}", "write it with numpy.savez(path, images=…, labels=…)"
        return
    found = image_shape(images.shape, images.kind)
    if found is None:
        yield "data.clean", f"images of shape {images.shape} and type {images.kind} in {plan.data}", FORM
    elif declared.shape and declared.shape != found:
        what = f"{list(declared.shape)}, but the images of {plan.data} are {list(found)}"
        yield "model.input.shape", what, shape_hint(declared.shape, found)
    for part, values in (("mean", declared.mean), ("std", declared.std)):
        if found and declared.shape is None and values and len(values) != found[0]:
            what = f"has {len(values)} values, but the images of {plan.data} have {found[0]} channels"
            yield f"model.input.normalize.{part}", what, "give one value per channel"
    if labels and labels.shape != images.shape[:1]:
        what = f"images of shape {images.shape} but labels of shape {labels.shape} in {plan.data}"
        yield "data.clean", what, "store one label for each image"
    if declared.num_classes and stored.largest_label is not None and stored.largest_label >= declared.num_classes:
        what = f"{declared.num_classes}, but a label of {plan.data} is {stored.largest_label}"
        yield "model.num_classes", what, "labels count from 0; correct one of the two"
