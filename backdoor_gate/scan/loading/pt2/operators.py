"""The operators that an exported network may use: pure functions on tensors and integers, and no others.

Left out on purpose: everything random, uninitialised (`empty`), written for its effect, of higher order, or that
takes code. An operator that is missing here is refused by name; adding it is one word in a table.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import torch

from backdoor_gate.errors import RefusedError
from backdoor_gate.scan.loading.naming import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Operator names, each followed by its overloads after a dot; a bare name means its `default` overload.
_CONVOLUTION = """
conv1d conv1d.padding conv2d conv2d.padding conv3d convolution conv_transpose2d.input linear addmm mm bmm baddbmm
matmul einsum dot mv outer addmv
"""
_NORMALISATION = """
batch_norm _native_batch_norm_legit_no_training layer_norm native_layer_norm group_norm native_group_norm
instance_norm rms_norm linalg_vector_norm norm.Scalar norm.ScalarOpt_dim cosine_similarity
"""
_POOLING = """
max_pool1d max_pool2d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
_adaptive_avg_pool2d adaptive_max_pool2d
"""
_ACTIVATION = """
relu relu_ relu6 relu6_ hardtanh hardtanh_ hardswish hardswish_ hardsigmoid hardsigmoid_ leaky_relu leaky_relu_ elu
elu_ selu selu_ celu celu_ gelu gelu_ silu silu_ mish mish_ softplus prelu _prelu_kernel sigmoid sigmoid_ tanh tanh_
softmax.int _softmax log_softmax.int _log_softmax logsumexp threshold threshold_ glu hardshrink softshrink log_sigmoid
scaled_dot_product_attention
"""
_SHAPE = """
view _unsafe_view reshape reshape_as permute transpose.int t numpy_T mT swapaxes movedim.int movedim.intlist
flatten.using_ints unflatten.int squeeze squeeze.dim squeeze.dims unsqueeze expand expand_as cat concat stack hstack
vstack split.Tensor split.sizes split_with_sizes tensor_split.sections chunk slice.Tensor select.int narrow unbind.int
pad constant_pad_nd reflection_pad2d replication_pad2d repeat repeat_interleave.self_int tile roll flip unfold im2col
pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle upsample_nearest2d upsample_nearest2d.vec
upsample_bilinear2d upsample_bilinear2d.vec upsample_bicubic2d upsample_bicubic2d.vec _upsample_bilinear2d_aa
_upsample_bilinear2d_aa.vec grid_sampler grid_sampler_2d affine_grid_generator index.Tensor index_select gather
embedding
"""
_ARITHMETIC = """
add.Tensor add.Scalar add_.Tensor add_.Scalar sub.Tensor sub.Scalar sub_.Tensor sub_.Scalar rsub.Scalar rsub.Tensor
mul.Tensor mul.Scalar mul_.Tensor mul_.Scalar div.Tensor div.Scalar div_.Tensor div_.Scalar div.Tensor_mode
div.Scalar_mode floor_divide remainder.Scalar remainder.Tensor pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar sqrt
sqrt_ rsqrt exp exp_ expm1 log log1p log2 abs abs_ neg neg_ reciprocal square sign floor ceil round trunc frac erf sin
cos tan atan atan2 addcmul addcdiv lerp.Scalar lerp.Tensor clamp clamp.Tensor clamp_ clamp_min clamp_min_ clamp_max
clamp_max_ maximum minimum fill_.Scalar fill_.Tensor zero_ copy_ copy
"""
_REDUCTION = """
mean mean.dim sum sum.dim_IntList prod.dim_int var.correction var.dim std.correction std.dim var_mean.correction
std_mean.correction amax amin aminmax max max.dim max.other min min.dim min.other argmax argmin any any.dim all all.dim
cumsum
"""
_CHOICE = """
where.self where.Scalar where.ScalarOther where.ScalarSelf masked_fill.Scalar masked_fill.Tensor masked_fill_.Scalar
eq.Scalar eq.Tensor ne.Scalar ne.Tensor lt.Scalar lt.Tensor le.Scalar le.Tensor gt.Scalar gt.Tensor ge.Scalar ge.Tensor
logical_and logical_or logical_not logical_xor bitwise_and.Tensor bitwise_or.Tensor bitwise_not isnan isinf tril triu
"""
_CREATION = """
zeros ones full arange arange.start arange.start_step linspace eye scalar_tensor zeros_like ones_like full_like
new_zeros new_ones new_full
"""
_COPY = """
clone contiguous alias detach detach_ lift_fresh_copy lift_fresh _to_copy to.dtype to.device to.dtype_layout to.other
type_as sym_size.int sym_numel sym_stride.int dropout dropout_ feature_dropout feature_dropout_ alpha_dropout
"""
_TABLES = (
    *(_CONVOLUTION, _NORMALISATION, _POOLING, _ACTIVATION, _SHAPE),
    *(_ARITHMETIC, _REDUCTION, _CHOICE, _CREATION, _COPY),
)


def _named(names: str) -> frozenset[str]:
    """Return the full names of operators."""
    return frozenset(f"torch.ops.aten.{name if '.' in name else name + '.default'}" for name in names.split())


ATEN = _named(" ".join(_TABLES))
"""Allowed tensor operators."""

INTEGER: dict[str, Callable[..., Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "pos")},
    **{f"_operator.{name}": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "truediv")},
    "math.trunc": math.trunc,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
}
"""Allowed operators on sizes."""

CHECKS = frozenset(
    f"torch.ops.aten.{name}"
    for name in (
        "_assert_tensor_metadata.default",
        "_assert_scalar.default",
        "_assert_async.default",
        "_assert_async.msg",
        "sym_constrain_range.default",
        "sym_constrain_range_for_size.default",
    )
)
"""Operators that only pin shapes or dtypes; they compute nothing and are left out."""


IDENTITY = _named("dropout dropout_ feature_dropout feature_dropout_ alpha_dropout")
"""Operators that do nothing in evaluation; see `modes` for what was exported in training mode."""

SIZED = _named("view _unsafe_view reshape expand unflatten.int repeat tile zeros ones full new_zeros new_ones new_full")
"""Operators that may be given a size that grows with the batch; what they give has that size, and hangs on it in no
other way."""

MAY_SHARE = _named(
    "_unsafe_view einsum pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle type_as pad copy"
)
"""Operators whose result may be an argument's memory though their schema does not say so."""

VIEWS = _named(
    "select.int slice.Tensor narrow permute transpose.int t numpy_T mT swapaxes movedim.int movedim.intlist squeeze "
    "squeeze.dim squeeze.dims unsqueeze expand expand_as split.Tensor split.sizes split_with_sizes chunk unbind.int "
    "tensor_split.sections unfold alias detach detach_ lift_fresh"
)
"""Operators whose result is their argument's memory however that is laid out, and in-place ones besides."""

BY_POSITION = _named(
    "slice.Tensor select.int narrow unbind.int split.Tensor split.sizes split_with_sizes chunk tensor_split.sections "
    "index_select gather roll flip unfold"
)
"""Operators that treat what lies along `dim`, 0 where that is not given, by its position there."""

BY_ROW_AND_COLUMN = _named("tril triu")
"""Operators that treat what lies along the last two axes by its position there."""

WITHOUT_VALUES = _named("new_zeros new_ones new_full type_as to.other")
"""Operators that may take the images for their type alone."""

STEPWISE = _named(
    "sign floor ceil round trunc frac div.Tensor_mode div.Scalar_mode floor_divide remainder.Scalar remainder.Tensor"
)
"""Operators with a floating result that goes in steps, or is what such a step leaves."""

WITH_OWN_STATISTICS = _named("batch_norm instance_norm group_norm native_group_norm")
"""Operators that take the mean over some axes away; what they add may hide how little is left."""


def _reshape(self: Tensor, size: list[int]) -> Tensor:
    return torch.reshape(self, size)


def _with_gradient(self: Tensor) -> Tensor:
    return self


RUN_AS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("torch.ops.aten.view.default", "torch.ops.aten._unsafe_view.default"), _reshape),
    **dict.fromkeys((f"torch.ops.aten.{name}.default" for name in ("detach", "detach_", "lift_fresh")), _with_gradient),
}
"""`view` fails on memory laid out otherwise than it was when exporting; `reshape` gives the same values. And what is
cut off from the gradient would be hidden from every search that follows it."""


def resolve(target: str, where: str) -> Any:
    """Return the allowed tensor operator of that name, as an overload object with a schema.

    Raises:
        RefusedError: it is not on the list, or this torch does not have it.
    """
    if target in ATEN:
        name, overload = target.removeprefix("torch.ops.aten.").split(".")
        found = getattr(getattr(torch.ops.aten, name, None), overload, None)
        if found is not None:
            return found
    hint = "export in evaluation mode without custom, random or nested operators, or upload safetensors"
    raise RefusedError(f"pt2: operator not allowed: {shown(target)}", where=where, hint=hint)
