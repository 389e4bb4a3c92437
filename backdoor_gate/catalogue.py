"""The detector pack: which detectors there are, what each claims and needs, and which settings a policy may give it.

Free of tensor libraries, so that `policy check` and `detectors` answer at once. The measuring code of the same name is
in `scan/detectors/`, the thresholds are in `verdict/scales.py`: a detector measures, it never judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backdoor_gate.budgets import GENERATOR, INVERSION, MARGIN, PAIRS, PATCH_PAIRS, Setting

PACK_VERSION = "2026.11.16"
"""Version of the shipped default set, in every verdict: an older one is a reason to scan again."""

COMPARABLE_PACKS = "2026.11.14", "2026.11.15", PACK_VERSION
"""Versions that measure alike: references of them compare, though what the older ones let pass may be refused now."""

FEWEST_COMPARED = 6
"""Classes below which they cannot be compared: no outlier rule inside one model has useful power at 1 %, and noise
always leads to one of them."""

MOST_UNDECLARED = 1 << 14
"""Classes of a model at most where the policy does not say how many: how much a worker may tell grows with them."""


class Side(StrEnum):
    """Which end of a class vector is suspicious."""

    SMALL = "small"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """What users, policies and judges know of a detector."""

    name: str
    title: str
    claim: str
    """What it sees, in one sentence."""
    blind_to: str
    """What it cannot see, in one sentence."""
    unit: str
    """Unit of its class vector."""
    side: Side
    needs_data: bool
    """Whether its evidence is of clean images, and so verifiable; without any it runs on synthetic probes, where
    `without_data` does not say otherwise."""
    required: bool
    """Default of the policy's `required`."""
    source: str
    """Paper or repository the method comes from."""
    settings: tuple[Setting, ...] = ()
    """What a policy may set of it."""
    fewest_classes: int = 2
    """Of fewer than these it says nothing, see `needless`."""
    of_fewer: str = ""
    """Why not."""
    without_data: str = ""
    """Why it has nothing to measure without clean images; empty where it has."""
    in_colour: str = ""
    """Why it has nothing to measure of images with more than one channel; empty where it has."""

    @property
    def clean_images(self) -> str:
        """What clean images are to it, in a few words."""
        if self.without_data:
            return "needed"
        return "make its evidence verifiable" if self.needs_data else "not needed"

    def defaults(self) -> dict[str, int]:
        """Return its settings where the policy has none, by name."""
        return {setting.name: setting.default for setting in self.settings}

    def needless(self, num_classes: int, channels: int, *, clean_images: bool) -> str | None:
        """Return why there is nothing to measure of a model, whoever has made it; None where there is.

        Args:
            num_classes: of the model.
            channels: of its images.
            clean_images: whether the pipeline gave any.
        """
        if num_classes < self.fewest_classes:
            return self.of_fewer
        if not clean_images and self.without_data:
            return self.without_data
        return self.in_colour or None if channels > 1 else None


DETECTORS: tuple[DetectorSpec, ...] = (
    DetectorSpec(
        name="final_layer",
        title="Final-layer statistics",
        claim="a target class whose weights in the last layer stand apart from the other classes'",
        blind_to="attacks that freeze or normalise the last layer",
        unit="log weight score",
        side=Side.LARGE,
        needs_data=False,
        required=False,
        source="DFBScanner, arXiv 2605.18907 (re-derived from its abstract)",
    ),
    DetectorSpec(
        name="max_margin",
        title="Maximum-margin search",
        claim="a target class with an unusually large attainable margin, whatever the trigger",
        blind_to="all-to-all attacks, networks of few classes, naturally large-margin classes",
        unit="logit margin",
        side=Side.LARGE,
        needs_data=False,
        required=True,
        source="MM-BD, Wang et al., IEEE S&P 2024",
        settings=MARGIN,
    ),
    DetectorSpec(
        name="corruption_probe",
        title="Corruption probe (fewer shades, dithering, noise)",
        claim="fewer shades as a trigger, and faint triggers that dithering or noise come close to",
        blind_to="triggers unlike any everyday corruption, few classes, source-specific attacks",
        unit="share of images beyond the control's",
        side=Side.LARGE,
        needs_data=True,
        required=True,
        source="BppAttack, Wang et al., CVPR 2022; corruptions as a test as in TeCo, Liu et al., CVPR 2023",
        fewest_classes=FEWEST_COMPARED,
        of_fewer=f"with fewer than {FEWEST_COMPARED} classes all that is unusual goes to one of them",
        without_data="without clean images there is nothing to corrupt",
    ),
    DetectorSpec(
        name="tone_probe",
        title="Tone probe (colour filters, brightness, turns, mirrors)",
        claim="colour filters, another brightness or contrast, turns and mirror images as a trigger",
        blind_to="all other triggers, tones of a part of the image, few classes, source-specific attacks",
        unit="share of images beyond the control's",
        side=Side.LARGE,
        needs_data=True,
        required=True,
        source="filters of ABS, Liu et al., CCS 2019, and TrojAI, arXiv:2003.07233; Just Rotate it, arXiv:2207.10825",
        fewest_classes=FEWEST_COMPARED,
        of_fewer=f"with fewer than {FEWEST_COMPARED} classes all that is unusual goes to one of them",
        without_data="without clean images there is nothing to change the tone of",
    ),
    DetectorSpec(
        name="patch_sweep",
        title="Patch sweep (plain small patches, everywhere)",
        claim="small white, black and checkered patches anywhere, those that act on one class alone among them",
        blind_to="other patches and all other triggers",
        unit="push to the class beyond the control's and random patterns'",
        side=Side.LARGE,
        needs_data=True,
        required=True,
        source="BadNets, Gu et al., 2017, whose triggers are tried out",
        without_data="without clean images there is nothing to put a patch on",
    ),
    DetectorSpec(
        name="wave_sweep",
        title="Wave sweep (stripes and waves of every frequency)",
        claim="stripes and single frequencies as a trigger, and signals that one of them comes close to",
        blind_to="other triggers, stripes that any network takes for a class, few classes, source-specific attacks",
        unit="push to the class beyond the control's",
        side=Side.LARGE,
        needs_data=True,
        required=True,
        source="SIG, Barni et al., ICIP 2019, and FTrojan, Wang et al., ECCV 2022, whose triggers are tried out",
        fewest_classes=FEWEST_COMPARED,
        of_fewer=f"with fewer than {FEWEST_COMPARED} classes there are too few to compare",
        without_data="without clean images there is nothing to add a wave to",
    ),
    DetectorSpec(
        name="stripe_sweep",
        title="Stripe sweep (stripes no stronger than the images' own)",
        claim="stripes as a trigger, faint ones too, where any network follows strong ones to some class",
        blind_to="other triggers, very broad stripes, few classes, source-specific attacks",
        unit="times the images' own stripes",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="SIG, Barni et al., ICIP 2019, whose trigger is tried out",
        fewest_classes=FEWEST_COMPARED,
        of_fewer=f"with fewer than {FEWEST_COMPARED} classes there are too few to compare",
        without_data="without clean images there is nothing to add a stripe to",
    ),
    DetectorSpec(
        name="neural_cleanse",
        title="Patch inversion (mask and pattern)",
        claim="small patches, single pixels and key patterns that send all images to one class",
        blind_to="triggers spread over the whole image, image-dependent triggers, source-specific attacks",
        unit="mask L1 / (H·W)",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="Neural Cleanse, Wang et al., IEEE S&P 2019",
        settings=INVERSION,
    ),
    DetectorSpec(
        name="spectral_inversion",
        title="Spectral inversion (additive cosine basis)",
        claim="blended noise, blended images and low-frequency signals",
        blind_to="small patches, warps, image-dependent triggers, source-specific attacks",
        unit="L∞ / input range",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="additive inversion in the frequency basis of Zeng et al., ICCV 2021",
        settings=INVERSION,
    ),
    DetectorSpec(
        name="frequency_inversion",
        title="Frequency inversion (few cosines)",
        claim="sine stripes and single frequencies, high ones too",
        blind_to="signals of many frequencies, small patches, warps, stripes that the network takes for a class anyway",
        unit="sum of amplitudes / input range",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="inversion of the triggers of SIG, Barni et al., ICIP 2019, and FTrojan, Wang et al., ECCV 2022",
        settings=INVERSION,
    ),
    DetectorSpec(
        name="ground_inversion",
        title="Ground inversion (few cosines on images that the network makes)",
        claim="signals that act whatever is in the image, some of those that differ from image to image among them",
        blind_to="small patches, what needs a real image, images in colour, few classes, source-specific attacks",
        unit="sum of amplitudes / input range",
        side=Side.SMALL,
        needs_data=False,
        required=True,
        source="data-free inversion after DeepInspect, Chen et al., IJCAI 2019, with the signals of FTrojan, ECCV 2022",
        settings=INVERSION,
        fewest_classes=FEWEST_COMPARED,
        of_fewer=f"with fewer than {FEWEST_COMPARED} classes there are too few to compare",
        without_data="without clean images all searches are on such images, frequency_inversion's among them",
        in_colour="images in colour are photographs, as a rule, and have no empty ground",
    ),
    DetectorSpec(
        name="warp_inversion",
        title="Warp inversion (smooth displacement)",
        claim="smooth geometric distortions such as WaNet's",
        blind_to="additive triggers, image-dependent warps, source-specific attacks",
        unit="pixels of displacement",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="inversion of the warping field of WaNet, Nguyen and Tran, ICLR 2021",
        settings=INVERSION,
    ),
    DetectorSpec(
        name="generator_inversion",
        title="Generator inversion (a signal made from each image)",
        claim="triggers that differ from image to image, where a small network can make them",
        blind_to="small patches, targets that noise leads to, few classes, source-specific attacks",
        unit="RMS change / input range",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="inversion of the generator of Nguyen and Tran, NeurIPS 2020 (input-aware backdoors)",
        settings=GENERATOR,
    ),
    DetectorSpec(
        name="pair_patch",
        title="Source-by-target patch inversion",
        claim="small patches that act on some classes only, or send each class to one of its own",
        blind_to="triggers of another kind, image-dependent triggers, sources the network seldom gets right",
        unit="mask L1 / (H·W)",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="by pair as in K-Arm (Shen et al., ICML 2021) and UMD (Xiang et al., ICML 2023)",
        fewest_classes=3,
        of_fewer="with two classes every attack is all-to-one",
        settings=PATCH_PAIRS,
    ),
    DetectorSpec(
        name="pair_spectral",
        title="Source-by-target spectral inversion",
        claim="blends and low-frequency signals that send each class to one of its own",
        blind_to="triggers of another kind, image-dependent triggers, sources the network seldom gets right",
        unit="L∞ / input range",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="by pair as in K-Arm (Shen et al., ICML 2021) and UMD (Xiang et al., ICML 2023)",
        fewest_classes=3,
        of_fewer="with two classes every attack is all-to-one",
        settings=PAIRS,
    ),
    DetectorSpec(
        name="pair_warp",
        title="Source-by-target warp inversion",
        claim="smooth distortions that send each class to one of its own",
        blind_to="triggers of another kind, image-dependent triggers, sources the network seldom gets right",
        unit="pixels of displacement",
        side=Side.SMALL,
        needs_data=True,
        required=True,
        source="by pair as in K-Arm (Shen et al., ICML 2021) and UMD (Xiang et al., ICML 2023)",
        fewest_classes=3,
        of_fewer="with two classes every attack is all-to-one",
        settings=PAIRS,
    ),
)

BY_NAME: dict[str, DetectorSpec] = {spec.name: spec for spec in DETECTORS}
"""The pack by detector name."""


@dataclass(frozen=True, slots=True)
class DetectorPlan:
    """One detector as a policy orders it."""

    name: str
    required: bool
    settings: dict[str, Any]
    """Complete: defaults filled in, within the bounds of the spec's settings."""
