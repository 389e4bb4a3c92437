"""Each trigger family: what it does to images, and that it can be optimised and scaled."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dct
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (as every network's source spells it)

from backdoor_gate.records import InputSpec
from backdoor_gate.scan.triggers.families import FAMILIES, Generated, Patch, Spectral, TriggerFamily, Warp
from backdoor_gate.scan.triggers.families.generated import for_doubled, unfolded
from backdoor_gate.scan.triggers.families.interface import portrait
from backdoor_gate.scan.triggers.families.spectral import cosine_basis
from backdoor_gate.scan.triggers.families.warp import bicubic_basis

SPECS = {
    "grey": InputSpec((1, 8, 8)),
    "colour, oblong": InputSpec((3, 12, 10), -1.0, 1.0),
    "bytes": InputSpec((3, 9, 9), 0.0, 255.0),
    "tiny": InputSpec((1, 2, 3)),
}
ROUNDING = 1e-5
CPU = torch.device("cpu")


@pytest.fixture(params=FAMILIES, ids=lambda family: family.__name__)
def kind(request: pytest.FixtureRequest) -> type[TriggerFamily]:
    """Each family in turn."""
    found: type[TriggerFamily] = request.param
    return found


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> InputSpec:
    """Each shape and range in turn."""
    return SPECS[request.param]


def images_of(spec: InputSpec, count: int = 5, seed: int = 3) -> Tensor:
    noise = torch.rand((count, *spec.shape), generator=torch.Generator().manual_seed(seed))
    return spec.low + noise * (spec.high - spec.low)


def parameters_of(family: TriggerFamily, arms: int, device: torch.device, spread: float = 0.3) -> tuple[Tensor, ...]:
    """Return parameters that differ between the arms, as after some steps."""
    generator = torch.Generator().manual_seed(1)
    start = family.start(arms, generator)
    return tuple((p + spread * torch.randn(p.shape, generator=generator)).to(device) for p in start)


def in_range(tensor: Tensor, spec: InputSpec) -> bool:
    slack = ROUNDING * (spec.high - spec.low)
    return bool(tensor.isfinite().all() and tensor.min() >= spec.low - slack and tensor.max() <= spec.high + slack)


def test_apply_keeps_shape_and_range(kind: type[TriggerFamily], spec: InputSpec, device: torch.device) -> None:
    family = kind(spec)
    triggered = family.apply(parameters_of(family, 4, device), images_of(spec).to(device))
    assert triggered.shape == (4, 5, *spec.shape)
    assert triggered.dtype == torch.float32
    assert in_range(triggered, spec)


@given(seed=st.integers(0, 2**31), spread=st.floats(0, 30), name=st.sampled_from(sorted(SPECS)))
@pytest.mark.parametrize("kind", FAMILIES, ids=lambda family: family.__name__)
def test_any_parameters_keep_the_range(kind: type[TriggerFamily], seed: int, spread: float, name: str) -> None:
    spec = SPECS[name]
    family = kind(spec)
    generator = torch.Generator().manual_seed(seed)
    parameters = tuple(spread * torch.randn(p.shape, generator=generator) for p in family.start(2, generator))
    assert in_range(family.apply(parameters, images_of(spec)), spec)
    assert (family.strength(parameters) >= 0).all()


def test_arms_do_not_touch_each_other(kind: type[TriggerFamily], spec: InputSpec, device: torch.device) -> None:
    family, images = kind(spec), images_of(spec).to(device)
    parameters = parameters_of(family, 3, device)
    together = family.apply(parameters, images)
    for arm in range(3):
        alone = tuple(p[arm : arm + 1] for p in parameters)
        assert torch.allclose(family.apply(alone, images)[0], together[arm], rtol=1e-5, atol=1e-5 * abs(spec.high))
        assert torch.allclose(family.strength(alone)[0], family.strength(parameters)[arm])


def test_gradients_reach_every_parameter(kind: type[TriggerFamily], spec: InputSpec, device: torch.device) -> None:
    family = kind(spec)
    parameters = tuple(p.requires_grad_() for p in parameters_of(family, 2, device))
    weights = torch.randn(2, 5, *spec.shape, generator=torch.Generator().manual_seed(2)).to(device)
    (family.apply(parameters, images_of(spec).to(device)) * weights).sum().backward()
    for parameter in parameters:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.flatten(1).abs().sum(dim=1).gt(0).all() if parameter.dim() > 1 else True
        assert parameter.grad.abs().gt(0).any()


def test_strength_is_differentiable(kind: type[TriggerFamily], spec: InputSpec, device: torch.device) -> None:
    family = kind(spec)
    parameters = tuple(p.requires_grad_() for p in parameters_of(family, 3, device))
    strength = family.strength(parameters)
    assert strength.shape == (3,)
    assert (strength > 0).all()
    strength.sum().backward()
    assert parameters[0].grad is not None
    assert parameters[0].grad.isfinite().all()


def test_every_arm_starts_alike(kind: type[TriggerFamily], spec: InputSpec) -> None:
    family = kind(spec)
    one, other = (family.start(3, torch.Generator().manual_seed(4)) for _ in range(2))
    for parameter, again in zip(one, other, strict=True):
        assert parameter.device.type == "cpu"
        assert torch.equal(parameter, again)
        assert torch.equal(parameter, parameter[:1].expand_as(parameter))
    single = family.start(1, torch.Generator().manual_seed(4))
    assert all(torch.equal(p[:1], q) for p, q in zip(one, single, strict=True))


def test_scaling_multiplies_the_strength(kind: type[TriggerFamily], spec: InputSpec, device: torch.device) -> None:
    family = kind(spec)
    parameters = parameters_of(family, 4, device)
    factor = torch.tensor([0.5, 0.9, 1.0, 1.2], device=device)  # more would make some masks opaque
    scaled = family.scaled(parameters, factor)
    assert torch.allclose(family.strength(scaled), factor * family.strength(parameters), rtol=1e-4)


def test_a_trigger_scaled_to_nothing_is_nothing(kind: type[TriggerFamily], spec: InputSpec) -> None:
    family, images = kind(spec), images_of(spec)
    vanished = family.scaled(parameters_of(family, 2, torch.device("cpu")), torch.full((2,), 1e-6))
    assert torch.allclose(family.apply(vanished, images), images[None], atol=1e-4 * (spec.high - spec.low))


def test_portrait(kind: type[TriggerFamily], spec: InputSpec, device: torch.device) -> None:
    family = kind(spec)
    picture = portrait(family, parameters_of(family, 2, device), spec)
    assert picture.shape == (2, *spec.shape)
    assert in_range(picture, spec)


# ---------------------------------------------------------------------------------------------- one by one


def test_an_opaque_patch_hides_the_image() -> None:
    spec = InputSpec((3, 4, 4), -1.0, 1.0)
    mask, pattern = torch.full((1, 1, 4, 4), -30.0), torch.zeros(1, 3, 4, 4)
    mask[..., 1, 2], pattern[0, :, 1, 2] = 30.0, torch.tensor([-30.0, 0.0, 30.0])
    images = images_of(spec)
    triggered = Patch(spec).apply((mask, pattern), images)[0]
    assert torch.allclose(triggered[:, :, 1, 2], torch.tensor([-1.0, 0.0, 1.0]).expand(5, -1))
    triggered[:, :, 1, 2] = images[:, :, 1, 2]
    assert torch.allclose(triggered, images)
    assert Patch(spec).strength((mask, pattern)).item() == pytest.approx(1 / 16)


def test_a_patch_is_never_scaled_beyond_opaque() -> None:
    family = Patch(InputSpec((1, 4, 4)))
    scaled = family.scaled((torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)), torch.tensor([9.0]))
    assert family.strength(scaled).item() == pytest.approx(1.0, abs=1e-5)
    assert all(p.isfinite().all() for p in scaled)


@pytest.mark.parametrize(("size", "frequencies"), [(8, 8), (28, 8), (3, 3), (1, 1)])
def test_the_cosines_are_the_orthonormal_transform(size: int, frequencies: int) -> None:
    basis = cosine_basis(size, frequencies, CPU)
    expected = dct(torch.eye(size).numpy(), type=2, norm="ortho", axis=0)[:frequencies]
    assert torch.allclose(basis, torch.from_numpy(expected).float(), atol=1e-6)


def test_a_signal_peaks_at_its_strength() -> None:
    spec = InputSpec((3, 16, 12), -1.0, 1.0)
    family = Spectral(spec)
    parameters = parameters_of(family, 3, torch.device("cpu"))
    peaks = family.signal(parameters).abs().amax(dim=(1, 2, 3))
    assert torch.allclose(peaks, 2 * family.strength(parameters), rtol=1e-5)


def test_a_flat_signal_is_a_change_of_brightness() -> None:
    spec = InputSpec((1, 8, 8))
    coefficients = torch.zeros(1, 1, 8, 8)
    coefficients[..., 0, 0] = 5.0
    triggered = Spectral(spec).apply((torch.tensor([math.log(0.2)]), coefficients), torch.full((1, 1, 8, 8), 0.3))
    assert torch.allclose(triggered, torch.full_like(triggered, 0.5), atol=1e-6)


@pytest.mark.parametrize("pixels", [1.0, 2.0])
def test_a_uniform_warp_moves_the_image_by_whole_pixels(pixels: float) -> None:
    spec = InputSpec((2, 6, 9))
    offsets = torch.zeros(1, 2, Warp.GRID, Warp.GRID)
    offsets[:, 0] = 0.7  # to the right alone: the strength sets the length
    images, shift = images_of(spec), int(pixels)
    warped = Warp(spec).apply((torch.tensor([math.log(pixels)]), offsets), images)[0]
    assert torch.allclose(warped[..., :-shift], images[..., shift:], atol=1e-5)
    edge = images[..., -1:].expand(-1, -1, -1, shift)
    assert torch.allclose(warped[..., -shift:], edge, atol=1e-5)


def test_a_warp_peaks_at_its_strength() -> None:
    family = Warp(InputSpec((1, 20, 14)))
    parameters = parameters_of(family, 3, torch.device("cpu"))
    assert torch.allclose(family.flow(parameters).abs().amax(dim=(1, 2, 3)), family.strength(parameters), rtol=1e-5)


@pytest.mark.parametrize("amount", [math.nan, math.inf, 1e38])
def test_a_warp_without_bounds_reads_no_memory_but_the_image(amount: float, device: torch.device) -> None:
    spec = InputSpec((1, 6, 6))
    offsets = torch.randn((1, 2, 5, 5), generator=torch.Generator().manual_seed(0)).to(device)
    parameters = (torch.tensor([math.log(amount)], device=device).requires_grad_(), offsets.requires_grad_())
    warped = Warp(spec).apply(parameters, images_of(spec).to(device))
    warped.sum().backward()
    assert in_range(warped, spec)


def test_every_image_gets_a_signal_of_its_own_and_of_the_same_strength() -> None:
    spec = InputSpec((3, 14, 11), -1.0, 1.0)
    family, images = Generated(spec), images_of(spec)
    parameters = parameters_of(family, 3, torch.device("cpu"))
    signal = family.signal(parameters, images)
    sizes = signal.square().mean(dim=(2, 3, 4)).sqrt()
    assert torch.allclose(sizes, 2 * family.strength(parameters)[:, None].expand(-1, 5), rtol=1e-4)
    apart = (signal[:, 1:] - signal[:, :1]).square().mean(dim=(2, 3, 4)).sqrt()
    assert (apart > 0.1 * sizes[:, 1:]).all()


def test_an_image_gets_the_same_signal_whether_shared_or_an_arms_own() -> None:
    spec = InputSpec((3, 9, 8))
    family, images = Generated(spec), images_of(spec)
    parameters = parameters_of(family, 2, torch.device("cpu"))
    own = torch.stack([images, images.flip(0)])
    signal = family.signal(parameters, own)
    assert torch.allclose(signal[0], family.signal(parameters, images)[0], atol=1e-5)
    assert torch.allclose(signal[1], family.signal(parameters, images)[1].flip(0), atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2)])
def test_kernels_for_doubled_images_do_what_the_kernels_do_on_doubled_images(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    arms, channels = 2, 3
    hidden = torch.randn((5, 4, *size), generator=generator)
    kernels = torch.randn((arms * channels, 4, 3, 3), generator=generator)
    doubled = hidden.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = F.conv2d(doubled, kernels, padding=1).unflatten(1, (arms, channels)).transpose(0, 1)
    blocks = F.conv2d(hidden, for_doubled(kernels), padding=1)
    assert torch.allclose(unfolded(blocks, arms), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (9, 14), (1, 3)])
def test_the_bicubic_basis_is_the_interpolation(height: int, width: int) -> None:
    points = torch.randn((2, 2, 5, 5), generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(points, size=(height, width), mode="bicubic", align_corners=True)
    assert torch.allclose(bicubic_basis(height, 5, CPU).T @ points @ bicubic_basis(width, 5, CPU), expected, atol=1e-5)
