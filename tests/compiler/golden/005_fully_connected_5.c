/* Layer 5: FULLY_CONNECTED, operator 6 of the model; 20 MACs.
 *
 * in    int8[1, 4] scale 0.0636832565 zero point 12 "reshape_5"
 * const int8[5, 4] scale 0.00543990033 zero point 0 "weights_12"
 * const int32[5] scale 0.000346430577 zero point 0 "bias_13"
 * out   int8[1, 5] scale 0.0489392728 zero point 8 "fully_connected_6"
 */
#include "layers.h"
#include "../nn_math.h"
#include "../weights.h"

void fully_connected_5(const int8_t *restrict input, int8_t *restrict output)
{
    const int32_t bias_0 = fully_connected_5_bias[0];
    const int32_t bias_1 = fully_connected_5_bias[1];
    const int32_t bias_2 = fully_connected_5_bias[2];
    const int32_t bias_3 = fully_connected_5_bias[3];
    const int32_t bias_4 = fully_connected_5_bias[4];
    int32_t acc_0_0 = bias_0;
    int32_t acc_0_1 = bias_1;
    int32_t acc_0_2 = bias_2;
    int32_t acc_0_3 = bias_3;
    int32_t acc_0_4 = bias_4;
#if defined(__thumb2__) && defined(__OPTIMIZE__)
    {
        const int8_t *input_at = &input[0];
        const int8_t *fully_connected_5_weights_at = &fully_connected_5_weights[0];
        uint32_t t0, t1;
        __asm__(
            "ldrsb %[t0], [%[input_at]], #1\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_0], %[t1], %[t0], %[acc_0_0]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_1], %[t1], %[t0], %[acc_0_1]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_2], %[t1], %[t0], %[acc_0_2]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_3], %[t1], %[t0], %[acc_0_3]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_4], %[t1], %[t0], %[acc_0_4]\n\t"
            "ldrsb %[t0], [%[input_at]], #1\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_0], %[t1], %[t0], %[acc_0_0]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_1], %[t1], %[t0], %[acc_0_1]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_2], %[t1], %[t0], %[acc_0_2]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_3], %[t1], %[t0], %[acc_0_3]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_4], %[t1], %[t0], %[acc_0_4]\n\t"
            "ldrsb %[t0], [%[input_at]], #1\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_0], %[t1], %[t0], %[acc_0_0]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_1], %[t1], %[t0], %[acc_0_1]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_2], %[t1], %[t0], %[acc_0_2]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_3], %[t1], %[t0], %[acc_0_3]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_4], %[t1], %[t0], %[acc_0_4]\n\t"
            "ldrsb %[t0], [%[input_at]], #1\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_0], %[t1], %[t0], %[acc_0_0]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_1], %[t1], %[t0], %[acc_0_1]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_2], %[t1], %[t0], %[acc_0_2]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_3], %[t1], %[t0], %[acc_0_3]\n\t"
            "ldrsb %[t1], [%[fully_connected_5_weights_at]], #1\n\t"
            "mla %[acc_0_4], %[t1], %[t0], %[acc_0_4]"
            : [acc_0_0] "+r"(acc_0_0), [acc_0_1] "+r"(acc_0_1), [acc_0_2] "+r"(acc_0_2),
              [acc_0_3] "+r"(acc_0_3), [acc_0_4] "+r"(acc_0_4), [input_at] "+r"(input_at),
              [fully_connected_5_weights_at] "+r"(fully_connected_5_weights_at), [t0] "=&r"(t0),
              [t1] "=&r"(t1)
            :
            : "cc", "memory");
    }
#else
    for (int32_t k = 0; k < 4; k++) {
        const int32_t x_0 = input[k];
        const int32_t w_0 = fully_connected_5_weights[k * 5];
        acc_0_0 += w_0 * x_0;
        const int32_t w_1 = fully_connected_5_weights[k * 5 + 1];
        acc_0_1 += w_1 * x_0;
        const int32_t w_2 = fully_connected_5_weights[k * 5 + 2];
        acc_0_2 += w_2 * x_0;
        const int32_t w_3 = fully_connected_5_weights[k * 5 + 3];
        acc_0_3 += w_3 * x_0;
        const int32_t w_4 = fully_connected_5_weights[k * 5 + 4];
        acc_0_4 += w_4 * x_0;
    }
#endif
    output[0] = nn_saturate_i8(nn_rescale(acc_0_0, 1945801534, 7, 8));
    output[1] = nn_saturate_i8(nn_rescale(acc_0_1, 1945801534, 7, 8));
    output[2] = nn_saturate_i8(nn_rescale(acc_0_2, 1945801534, 7, 8));
    output[3] = nn_saturate_i8(nn_rescale(acc_0_3, 1945801534, 7, 8));
    output[4] = nn_saturate_i8(nn_rescale(acc_0_4, 1945801534, 7, 8));
}
