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

void depthwise_conv2d_1(const int8_t *restrict input, int8_t *restrict output)
{
    for (int32_t across = 0; across < 4; across++) {
        const int32_t k_first = nn_max_i32(0, 1 - across);
        const int32_t k_stop = nn_min_i32(3, 5 - across);
        for (int32_t c = 0; c < 4; c++) {
            const int32_t bias = depthwise_conv2d_1_bias[c];
            int32_t outside = bias;
            for (int32_t k = 0; k < k_first; k++) {
                for (int32_t j = 0; j < 3; j++) {
                    outside += depthwise_conv2d_1_weights[c * 9 + k * 3 + j] * -17;
                }
            }
            for (int32_t k = k_stop; k < 3; k++) {
                for (int32_t j = 0; j < 3; j++) {
                    outside += depthwise_conv2d_1_weights[c * 9 + k * 3 + j] * -17;
                }
            }
            const int32_t shift_c = depthwise_conv2d_1_shift[c];
            const int32_t addend_c = (1 << (shift_c - 1)) * 71;
            const int32_t multiplier_c = depthwise_conv2d_1_multiplier[c];
            int32_t acc_0 = outside;
            int32_t acc_1 = outside;
            int32_t acc_2 = outside;
            int32_t acc_3 = outside;
            for (int32_t k = k_first; k < k_stop; k++) {
                const int32_t w_0 = depthwise_conv2d_1_weights[c * 9 + k * 3];
                const int32_t w_1 = depthwise_conv2d_1_weights[c * 9 + k * 3 + 1];
                const int32_t w_2 = depthwise_conv2d_1_weights[c * 9 + k * 3 + 2];
                acc_0 += 0 - w_0 * 17;
                const int32_t x_1 = input[across * 16 + k * 16 + c - 16];
                acc_0 += x_1 * w_1;
                acc_1 += x_1 * w_0;
                const int32_t x_2 = input[across * 16 + k * 16 + c - 12];
                acc_0 += x_2 * w_2;
                acc_1 += x_2 * w_1;
                acc_2 += x_2 * w_0;
                const int32_t x_3 = input[across * 16 + k * 16 + c - 8];
                acc_1 += x_3 * w_2;
                acc_2 += x_3 * w_1;
                acc_3 += x_3 * w_0;
                const int32_t x_4 = input[across * 16 + k * 16 + c - 4];
                acc_2 += x_4 * w_2;
                acc_3 += x_4 * w_1;
                acc_3 += 0 - w_2 * 17;
            }
            const int32_t sum_0 = acc_0 + acc_0;
            output[across * 16 + c] =
                nn_saturate_i8(nn_high_add_rounded(sum_0, multiplier_c, addend_c + (sum_0 >> 31)) >> shift_c);
            const int32_t sum_1 = acc_1 + acc_1;
            output[across * 16 + c + 4] =
                nn_saturate_i8(nn_high_add_rounded(sum_1, multiplier_c, addend_c + (sum_1 >> 31)) >> shift_c);
            const int32_t sum_2 = acc_2 + acc_2;
            output[across * 16 + c + 8] =
                nn_saturate_i8(nn_high_add_rounded(sum_2, multiplier_c, addend_c + (sum_2 >> 31)) >> shift_c);
            const int32_t sum_3 = acc_3 + acc_3;
            output[across * 16 + c + 12] =
                nn_saturate_i8(nn_high_add_rounded(sum_3, multiplier_c, addend_c + (sum_3 >> 31)) >> shift_c);
        }
    }
}
