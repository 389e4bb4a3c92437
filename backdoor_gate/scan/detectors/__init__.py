"""The detectors, in the order of reports: cheap before dear."""

from backdoor_gate.scan.detectors.corruption_probe import CorruptionProbe
from backdoor_gate.scan.detectors.final_layer import FinalLayerStatistics
from backdoor_gate.scan.detectors.frequency_inversion import FrequencyInversion
from backdoor_gate.scan.detectors.generator_inversion import GeneratorInversion
from backdoor_gate.scan.detectors.ground_inversion import GroundInversion
from backdoor_gate.scan.detectors.interface import Detector
from backdoor_gate.scan.detectors.max_margin import MaxMargin
from backdoor_gate.scan.detectors.neural_cleanse import NeuralCleanse
from backdoor_gate.scan.detectors.pair_inversion import PairPatch, PairSpectral, PairWarp
from backdoor_gate.scan.detectors.patch_sweep import PatchSweep
from backdoor_gate.scan.detectors.spectral_inversion import SpectralInversion
from backdoor_gate.scan.detectors.stripe_sweep import StripeSweep
from backdoor_gate.scan.detectors.tone_probe import ToneProbe
from backdoor_gate.scan.detectors.warp_inversion import WarpInversion
from backdoor_gate.scan.detectors.wave_sweep import WaveSweep

DETECTORS: tuple[Detector, ...] = (
    FinalLayerStatistics(),
    MaxMargin(),
    CorruptionProbe(),
    ToneProbe(),
    PatchSweep(),
    WaveSweep(),
    StripeSweep(),
    NeuralCleanse(),
    SpectralInversion(),
    FrequencyInversion(),
    GroundInversion(),
    WarpInversion(),
    GeneratorInversion(),
    PairPatch(),
    PairSpectral(),
    PairWarp(),
)

__all__ = ["DETECTORS", "Detector"]
