/* Layer 5: FULLY_CONNECTED, operator 6 of the model; 20 MACs.
 *
 * in    int8[1, 4] scale 0.0636832565 zero point 12 "reshape_5"
 * const int8[5, 4] scale 0.00543990033 zero point 0 "weights_12"
 * const int32[5] scale 0.000346430577 zero point 0 "bias_13"
 * out   int8[1, 5] scale 0.0489392728 zero point 8 "fully_connected_6"
 */
#include "layers.h"
#include "../nn_math.h"
#include "../nn_kernels.h"
#include "../weights.h"

void fully_connected_5(const int8_t *restrict input, int8_t *restrict output)
{
    int32_t sums[5];
    const int32_t start_0 = fully_connected_5_bias[0];
    const int32_t start_1 = fully_connected_5_bias[1];
    const int32_t start_2 = fully_connected_5_bias[2];
    const int32_t start_3 = fully_connected_5_bias[3];
    const int32_t start_4 = fully_connected_5_bias[4];
    sums[0] = start_0;
    sums[1] = start_1;
    sums[2] = start_2;
    sums[3] = start_3;
    sums[4] = start_4;
#if defined(__thumb2__)
    nn_kernel_e1d50a(sums, &input[0], &fully_connected_5_weights[0]);
#else
    for (int32_t k = 0; k < 4; k++) {
        const int32_t x_0 = input[k];
        const int32_t w_0 = fully_connected_5_weights[k * 5];
        sums[0] += w_0 * x_0;
        const int32_t w_1 = fully_connected_5_weights[k * 5 + 1];
        sums[1] += w_1 * x_0;
        const int32_t w_2 = fully_connected_5_weights[k * 5 + 2];
        sums[2] += w_2 * x_0;
        const int32_t w_3 = fully_connected_5_weights[k * 5 + 3];
        sums[3] += w_3 * x_0;
        const int32_t w_4 = fully_connected_5_weights[k * 5 + 4];
        sums[4] += w_4 * x_0;
    }
#endif
    const int32_t sum_0_0 = sums[0] + sums[0];
    output[0] = nn_saturate_i8_asr_7(nn_high_add_rounded(sum_0_0, 1945801534, (sum_0_0 >> 31) + 1088));
    const int32_t sum_0_1 = sums[1] + sums[1];
    output[1] = nn_saturate_i8_asr_7(nn_high_add_rounded(sum_0_1, 1945801534, (sum_0_1 >> 31) + 1088));
    const int32_t sum_0_2 = sums[2] + sums[2];
    output[2] = nn_saturate_i8_asr_7(nn_high_add_rounded(sum_0_2, 1945801534, (sum_0_2 >> 31) + 1088));
    const int32_t sum_0_3 = sums[3] + sums[3];
    output[3] = nn_saturate_i8_asr_7(nn_high_add_rounded(sum_0_3, 1945801534, (sum_0_3 >> 31) + 1088));
    const int32_t sum_0_4 = sums[4] + sums[4];
    output[4] = nn_saturate_i8_asr_7(nn_high_add_rounded(sum_0_4, 1945801534, (sum_0_4 >> 31) + 1088));
}
