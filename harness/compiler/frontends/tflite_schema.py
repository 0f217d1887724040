"""What the frontend may read of a TFLite file, from TensorFlow's `schema.fbs` (v3), in the grammar of `flatbuffer`.

The options of every builtin operator are here, so that a new operator needs no line in this file. Tables that we only
ask for presence (`sparsity`) are listed without fields; what is not listed (metadata, signatures) is never read.
"""

from __future__ import annotations

import tflite

from harness.compiler.frontends.flatbuffer import Schema

_MODEL = """
Model                   version:u32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string \
buffers:[Buffer]
OperatorCode            deprecated_builtin_code:i8 custom_code:string version:i32 builtin_code:i32
SubGraph                tensors:[Tensor] inputs:[i32] outputs:[i32] operators:[Operator] name:string
Tensor                  shape:[i32] type:i8 buffer:u32 name:string quantization:QuantizationParameters \
is_variable:bool sparsity:SparsityParameters shape_signature:[i32] has_rank:bool
QuantizationParameters  min:[f32] max:[f32] scale:[f32] zero_point:[i64] details_type:u8 _ quantized_dimension:i32
SparsityParameters
Operator                opcode_index:u32 inputs:[i32] outputs:[i32] builtin_options_type:u8 \
builtin_options:<BuiltinOptions> custom_options:[u8] custom_options_format:i8 mutating_variable_inputs:[bool] \
intermediates:[i32]
Buffer                  data:[u8] offset:u64 size:u64
"""

_OPTIONS = """
AddOptions                         fused_activation_function:i8 pot_scale_int16:bool
ArgMaxOptions                      output_type:i8
ArgMinOptions                      output_type:i8
BatchMatMulOptions                 adj_x:bool adj_y:bool asymmetric_quantize_inputs:bool
BidirectionalSequenceLSTMOptions   fused_activation_function:i8 cell_clip:f32 proj_clip:f32 merge_outputs:bool \
time_major:bool asymmetric_quantize_inputs:bool
BidirectionalSequenceRNNOptions    time_major:bool fused_activation_function:i8 merge_outputs:bool \
asymmetric_quantize_inputs:bool
BucketizeOptions                   boundaries:[f32]
CallOnceOptions                    init_subgraph_index:i32
CallOptions                        subgraph:u32
CastOptions                        in_data_type:i8 out_data_type:i8
ConcatEmbeddingsOptions            num_channels:i32 num_columns_per_channel:[i32] embedding_dim_per_channel:[i32]
ConcatenationOptions               axis:i32 fused_activation_function:i8
Conv2DOptions                      padding:i8 stride_w:i32 stride_h:i32 fused_activation_function:i8 \
dilation_w_factor:i32 dilation_h_factor:i32 quantized_bias_type:i8
Conv3DOptions                      padding:i8 stride_d:i32 stride_w:i32 stride_h:i32 fused_activation_function:i8 \
dilation_d_factor:i32 dilation_w_factor:i32 dilation_h_factor:i32
CumsumOptions                      exclusive:bool reverse:bool
DepthToSpaceOptions                block_size:i32
DepthwiseConv2DOptions             padding:i8 stride_w:i32 stride_h:i32 depth_multiplier:i32 \
fused_activation_function:i8 dilation_w_factor:i32 dilation_h_factor:i32
DivOptions                         fused_activation_function:i8
EmbeddingLookupSparseOptions       combiner:i8
FakeQuantOptions                   min:f32 max:f32 num_bits:i32 narrow_range:bool
FullyConnectedOptions              fused_activation_function:i8 weights_format:i8 keep_num_dims:bool \
asymmetric_quantize_inputs:bool quantized_bias_type:i8
GatherOptions                      axis:i32 batch_dims:i32
GeluOptions                        approximate:bool
HashtableOptions                   table_id:i32 key_dtype:i8 value_dtype:i8
IfOptions                          then_subgraph_index:i32 else_subgraph_index:i32
L2NormOptions                      fused_activation_function:i8
LSHProjectionOptions               type:i8
LSTMOptions                        fused_activation_function:i8 cell_clip:f32 proj_clip:f32 kernel_type:i8 \
asymmetric_quantize_inputs:bool
LeakyReluOptions                   alpha:f32
LocalResponseNormalizationOptions  radius:i32 bias:f32 alpha:f32 beta:f32
MirrorPadOptions                   mode:i8
MulOptions                         fused_activation_function:i8
OneHotOptions                      axis:i32
PackOptions                        values_count:i32 axis:i32
Pool2DOptions                      padding:i8 stride_w:i32 stride_h:i32 filter_width:i32 filter_height:i32 \
fused_activation_function:i8
RNNOptions                         fused_activation_function:i8 asymmetric_quantize_inputs:bool
RandomOptions                      seed:i64 seed2:i64
ReducerOptions                     keep_dims:bool
ReshapeOptions                     new_shape:[i32]
ResizeBilinearOptions              _ _ align_corners:bool half_pixel_centers:bool
ResizeNearestNeighborOptions       align_corners:bool half_pixel_centers:bool
ReverseSequenceOptions             seq_dim:i32 batch_dim:i32
SVDFOptions                        rank:i32 fused_activation_function:i8 asymmetric_quantize_inputs:bool
SequenceRNNOptions                 time_major:bool fused_activation_function:i8 asymmetric_quantize_inputs:bool
ShapeOptions                       out_type:i8
SkipGramOptions                    ngram_size:i32 max_skip_size:i32 include_all_ngrams:bool
SoftmaxOptions                     beta:f32
SpaceToDepthOptions                block_size:i32
SparseToDenseOptions               validate_indices:bool
SplitOptions                       num_splits:i32
SplitVOptions                      num_splits:i32
SqueezeOptions                     squeeze_dims:[i32]
StridedSliceOptions                begin_mask:i32 end_mask:i32 ellipsis_mask:i32 new_axis_mask:i32 \
shrink_axis_mask:i32 offset:bool
SubOptions                         fused_activation_function:i8 pot_scale_int16:bool
TransposeConvOptions               padding:i8 stride_w:i32 stride_h:i32 fused_activation_function:i8 \
quantized_bias_type:i8
UnidirectionalSequenceLSTMOptions  fused_activation_function:i8 cell_clip:f32 proj_clip:f32 time_major:bool \
asymmetric_quantize_inputs:bool diagonal_recurrent_tensors:bool
UniqueOptions                      idx_out_type:i8
UnpackOptions                      num:i32 axis:i32
VarHandleOptions                   container:string shared_name:string
WhileOptions                       cond_subgraph_index:i32 body_subgraph_index:i32
"""

OPTIONS: dict[int, str] = {
    tag: name for name, tag in vars(tflite.BuiltinOptions).items() if isinstance(tag, int) and name != "NONE"
}
"""The union of builtin options: tag → table."""

_WITHOUT_FIELDS = "\n".join(sorted(set(OPTIONS.values()) - {line.split()[0] for line in _OPTIONS.split("\n") if line}))

SCHEMA = Schema.parse(
    _MODEL + _OPTIONS + _WITHOUT_FIELDS, root="Model", identifier=b"TFL3", unions={"BuiltinOptions": OPTIONS}
)
