/* Layer 1: DEPTHWISE_CONV_2D, operator 1 of the model; 576 MACs.
 *
 * in    int8[1, 4, 4, 4] scale 0.05391711 zero point -17 "conv_2d_0"
 * const int8[1, 3, 3, 4] scales 0.00208895025 .. 0.00407774188 along dimension 3 "weights_4"
 * const int32[4] scales 0.000112630158 .. 0.000219860056 along dimension 0 "bias_5"
 * out   int8[1, 4, 4, 4] scale 0.0522216484 zero point 35 "depthwise_conv_2d_1"
 */
#include "layers.h"
#include "../nn_math.h"
#include "../weights.h"

static const int32_t bias[4] = {
    4517, 778, 4571, -37665,
};

static const int32_t multiplier[4] = {
    2028714817, 1855720323, 1157272399, 1185697643,
};

static const int8_t shift[4] = {
    8, 8, 7, 8,
};

static const int32_t bias_folded[4] = {
    539, -259, 3279, -39960,
};

void depthwise_conv2d_1(const int8_t *restrict input, int8_t *restrict output)
{
    for (int32_t oy = 0; oy < 4; oy++) {
        for (int32_t ox = 0; ox < 4; ox++) {
            if (oy >= 1 && oy < 3 && ox >= 1 && ox < 3) {
                for (int32_t c = 0; c < 4; c++) {
                    int32_t acc = bias_folded[c];
                    acc += input[oy * 16 + ox * 4 + c - 20] * depthwise_conv2d_1_weights[c];
                    acc += input[oy * 16 + ox * 4 + c - 16] * depthwise_conv2d_1_weights[c + 4];
                    acc += input[oy * 16 + ox * 4 + c - 12] * depthwise_conv2d_1_weights[c + 8];
                    acc += input[oy * 16 + ox * 4 + c - 4] * depthwise_conv2d_1_weights[c + 12];
                    acc += input[oy * 16 + ox * 4 + c] * depthwise_conv2d_1_weights[c + 16];
                    acc += input[oy * 16 + ox * 4 + c + 4] * depthwise_conv2d_1_weights[c + 20];
                    acc += input[oy * 16 + ox * 4 + c + 12] * depthwise_conv2d_1_weights[c + 24];
                    acc += input[oy * 16 + ox * 4 + c + 16] * depthwise_conv2d_1_weights[c + 28];
                    acc += input[oy * 16 + ox * 4 + c + 20] * depthwise_conv2d_1_weights[c + 32];
                    output[oy * 16 + ox * 4 + c] = nn_saturate_i8(nn_requantise(acc, multiplier[c], shift[c]) + 35);
                }
            } else {
                int32_t acc_0 = bias[0];
                int32_t acc_1 = bias[1];
                int32_t acc_2 = bias[2];
                int32_t acc_3 = bias[3];
                const int32_t ky_start = nn_max_i32(0, 1 - oy);
                const int32_t ky_end = nn_min_i32(3, 5 - oy);
                const int32_t kx_start = nn_max_i32(0, 1 - ox);
                const int32_t kx_end = nn_min_i32(3, 5 - ox);
                for (int32_t ky = ky_start; ky < ky_end; ky++) {
                    for (int32_t kx = kx_start; kx < kx_end; kx++) {
                        acc_0 += (input[oy * 16 + ky * 16 + ox * 4 + kx * 4 - 20] + 17) *
                                 depthwise_conv2d_1_weights[ky * 12 + kx * 4];
                        acc_1 += (input[oy * 16 + ky * 16 + ox * 4 + kx * 4 - 19] + 17) *
                                 depthwise_conv2d_1_weights[ky * 12 + kx * 4 + 1];
                        acc_2 += (input[oy * 16 + ky * 16 + ox * 4 + kx * 4 - 18] + 17) *
                                 depthwise_conv2d_1_weights[ky * 12 + kx * 4 + 2];
                        acc_3 += (input[oy * 16 + ky * 16 + ox * 4 + kx * 4 - 17] + 17) *
                                 depthwise_conv2d_1_weights[ky * 12 + kx * 4 + 3];
                    }
                }
                output[oy * 16 + ox * 4] = nn_saturate_i8(nn_requantise(acc_0, multiplier[0], shift[0]) + 35);
                output[oy * 16 + ox * 4 + 1] = nn_saturate_i8(nn_requantise(acc_1, multiplier[1], shift[1]) + 35);
                output[oy * 16 + ox * 4 + 2] = nn_saturate_i8(nn_requantise(acc_2, multiplier[2], shift[2]) + 35);
                output[oy * 16 + ox * 4 + 3] = nn_saturate_i8(nn_requantise(acc_3, multiplier[3], shift[3]) + 35);
            }
        }
    }
}
