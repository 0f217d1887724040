/* Layer 0: CONV_2D, operator 0 of the model; 1728 MACs.
 *
 * in    int8[1, 8, 8, 3] scale 0.0234259665 zero point -26 "input"
 * const int8[4, 3, 3, 3] scales 0.00290676183 .. 0.00534182275 along dimension 0 "weights_1"
 * const int32[4] scales 6.80937083e-05 .. 0.000125137361 along dimension 0 "bias_2"
 * out   int8[1, 4, 4, 4] scale 0.05391711 zero point -17 "conv_2d_0"
 */
#include "layers.h"
#include "../nn_math.h"
#include "../weights.h"

static const int32_t bias[4] = {
    290, 21577, 12007, -7940,
};

static const int32_t multiplier[4] = {
    1275939894, 1095717514, 1388609678, 1946269217,
};

static const int8_t shift[4] = {
    8, 8, 9, 9,
};

static const int32_t bias_folded[4] = {
    -12450, 12477, 18351, -13816,
};

void conv2d_0(const int8_t *restrict input, int8_t *restrict output)
{
    for (int32_t oy = 0; oy < 4; oy++) {
        for (int32_t ox = 0; ox < 4; ox++) {
            if (oy < 3 && ox < 3) {
                int32_t acc_0 = bias_folded[0];
                int32_t acc_1 = bias_folded[1];
                int32_t acc_2 = bias_folded[2];
                int32_t acc_3 = bias_folded[3];
                for (int32_t ky = 0; ky < 3; ky++) {
                    for (int32_t k = 0; k < 9; k++) {
                        const int32_t x_0 = input[oy * 48 + ky * 24 + ox * 6 + k];
                        acc_0 += x_0 * conv2d_0_weights[ky * 9 + k];
                        acc_1 += x_0 * conv2d_0_weights[ky * 9 + k + 27];
                        acc_2 += x_0 * conv2d_0_weights[ky * 9 + k + 54];
                        acc_3 += x_0 * conv2d_0_weights[ky * 9 + k + 81];
                    }
                }
                output[oy * 16 + ox * 4] = nn_saturate_i8(nn_requantise(acc_0, multiplier[0], shift[0]) - 17);
                output[oy * 16 + ox * 4 + 1] = nn_saturate_i8(nn_requantise(acc_1, multiplier[1], shift[1]) - 17);
                output[oy * 16 + ox * 4 + 2] = nn_saturate_i8(nn_requantise(acc_2, multiplier[2], shift[2]) - 17);
                output[oy * 16 + ox * 4 + 3] = nn_saturate_i8(nn_requantise(acc_3, multiplier[3], shift[3]) - 17);
            } else {
                int32_t acc_0 = bias[0];
                int32_t acc_1 = bias[1];
                int32_t acc_2 = bias[2];
                int32_t acc_3 = bias[3];
                const int32_t ky_end = nn_min_i32(3, 8 - oy * 2);
                const int32_t k_end = nn_min_i32(9, 24 - ox * 6);
                for (int32_t ky = 0; ky < ky_end; ky++) {
                    for (int32_t k = 0; k < k_end; k++) {
                        const int32_t x_1 = input[oy * 48 + ky * 24 + ox * 6 + k] + 26;
                        acc_0 += x_1 * conv2d_0_weights[ky * 9 + k];
                        acc_1 += x_1 * conv2d_0_weights[ky * 9 + k + 27];
                        acc_2 += x_1 * conv2d_0_weights[ky * 9 + k + 54];
                        acc_3 += x_1 * conv2d_0_weights[ky * 9 + k + 81];
                    }
                }
                output[oy * 16 + ox * 4] = nn_saturate_i8(nn_requantise(acc_0, multiplier[0], shift[0]) - 17);
                output[oy * 16 + ox * 4 + 1] = nn_saturate_i8(nn_requantise(acc_1, multiplier[1], shift[1]) - 17);
                output[oy * 16 + ox * 4 + 2] = nn_saturate_i8(nn_requantise(acc_2, multiplier[2], shift[2]) - 17);
                output[oy * 16 + ox * 4 + 3] = nn_saturate_i8(nn_requantise(acc_3, multiplier[3], shift[3]) - 17);
            }
        }
    }
}
