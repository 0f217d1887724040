/* Layer 0: CONV_2D, operator 0 of the model; 1728 MACs.
 *
 * in    int8[1, 8, 8, 3] scale 0.0234259665 zero point -26 "input"
 * const int8[4, 3, 3, 3] scales 0.00290676183 .. 0.00534182275 along dimension 0 "weights_1"
 * const int32[4] scales 6.80937083e-05 .. 0.000125137361 along dimension 0 "bias_2"
 * out   int8[1, 4, 4, 4] scale 0.05391711 zero point -17 "conv_2d_0"
 *
 * The output lies over an input: a value may be stored only when what it takes the place of is no longer
 * needed. The order of these loops sees to that.
 */
#include "layers.h"
#include "../nn_math.h"
#include "../nn_kernels.h"
#include "../weights.h"

void conv2d_0(const int8_t *input, int8_t *output)
{
    for (int32_t oy = 0; oy < 4; oy++) {
        for (int32_t block = 0; block < 4; block += 2) {
            const int32_t ox = block;
            _Alignas(4) int8_t patch[56];
            patch[27] = 0;
            patch[55] = 0;
            const int32_t top_0 = oy * 2;
            const int32_t left_0 = ox * 2;
            if (top_0 + 2 < 8 && left_0 + 2 < 8) {
                patch[0] = input[top_0 * 24 + left_0 * 3];
                patch[1] = input[top_0 * 24 + left_0 * 3 + 1];
                patch[2] = input[top_0 * 24 + left_0 * 3 + 2];
                patch[3] = input[top_0 * 24 + left_0 * 3 + 3];
                patch[4] = input[top_0 * 24 + left_0 * 3 + 4];
                patch[5] = input[top_0 * 24 + left_0 * 3 + 5];
                patch[6] = input[top_0 * 24 + left_0 * 3 + 6];
                patch[7] = input[top_0 * 24 + left_0 * 3 + 7];
                patch[8] = input[top_0 * 24 + left_0 * 3 + 8];
                patch[9] = input[top_0 * 24 + left_0 * 3 + 24];
                patch[10] = input[top_0 * 24 + left_0 * 3 + 25];
                patch[11] = input[top_0 * 24 + left_0 * 3 + 26];
                patch[12] = input[top_0 * 24 + left_0 * 3 + 27];
                patch[13] = input[top_0 * 24 + left_0 * 3 + 28];
                patch[14] = input[top_0 * 24 + left_0 * 3 + 29];
                patch[15] = input[top_0 * 24 + left_0 * 3 + 30];
                patch[16] = input[top_0 * 24 + left_0 * 3 + 31];
                patch[17] = input[top_0 * 24 + left_0 * 3 + 32];
                patch[18] = input[top_0 * 24 + left_0 * 3 + 48];
                patch[19] = input[top_0 * 24 + left_0 * 3 + 49];
                patch[20] = input[top_0 * 24 + left_0 * 3 + 50];
                patch[21] = input[top_0 * 24 + left_0 * 3 + 51];
                patch[22] = input[top_0 * 24 + left_0 * 3 + 52];
                patch[23] = input[top_0 * 24 + left_0 * 3 + 53];
                patch[24] = input[top_0 * 24 + left_0 * 3 + 54];
                patch[25] = input[top_0 * 24 + left_0 * 3 + 55];
                patch[26] = input[top_0 * 24 + left_0 * 3 + 56];
            } else {
                for (int32_t ky_0 = 0; ky_0 < 3; ky_0++) {
                    const int32_t iy_0 = oy * 2 + ky_0;
                    for (int32_t kx_0 = 0; kx_0 < 3; kx_0++) {
                        const int32_t ix_0 = ox * 2 + kx_0;
                        if (iy_0 < 8 && ix_0 < 8) {
                            for (int32_t i_0 = 0; i_0 < 3; i_0++) {
                                patch[ky_0 * 9 + kx_0 * 3 + i_0] = input[iy_0 * 24 + ix_0 * 3 + i_0];
                            }
                        } else {
                            for (int32_t i_0 = 0; i_0 < 3; i_0++) {
                                patch[ky_0 * 9 + kx_0 * 3 + i_0] = -26;
                            }
                        }
                    }
                }
            }
            const int32_t top_1 = oy * 2;
            const int32_t left_1 = ox * 2 + 2;
            if (top_1 + 2 < 8 && left_1 + 2 < 8) {
                patch[28] = input[top_1 * 24 + left_1 * 3];
                patch[29] = input[top_1 * 24 + left_1 * 3 + 1];
                patch[30] = input[top_1 * 24 + left_1 * 3 + 2];
                patch[31] = input[top_1 * 24 + left_1 * 3 + 3];
                patch[32] = input[top_1 * 24 + left_1 * 3 + 4];
                patch[33] = input[top_1 * 24 + left_1 * 3 + 5];
                patch[34] = input[top_1 * 24 + left_1 * 3 + 6];
                patch[35] = input[top_1 * 24 + left_1 * 3 + 7];
                patch[36] = input[top_1 * 24 + left_1 * 3 + 8];
                patch[37] = input[top_1 * 24 + left_1 * 3 + 24];
                patch[38] = input[top_1 * 24 + left_1 * 3 + 25];
                patch[39] = input[top_1 * 24 + left_1 * 3 + 26];
                patch[40] = input[top_1 * 24 + left_1 * 3 + 27];
                patch[41] = input[top_1 * 24 + left_1 * 3 + 28];
                patch[42] = input[top_1 * 24 + left_1 * 3 + 29];
                patch[43] = input[top_1 * 24 + left_1 * 3 + 30];
                patch[44] = input[top_1 * 24 + left_1 * 3 + 31];
                patch[45] = input[top_1 * 24 + left_1 * 3 + 32];
                patch[46] = input[top_1 * 24 + left_1 * 3 + 48];
                patch[47] = input[top_1 * 24 + left_1 * 3 + 49];
                patch[48] = input[top_1 * 24 + left_1 * 3 + 50];
                patch[49] = input[top_1 * 24 + left_1 * 3 + 51];
                patch[50] = input[top_1 * 24 + left_1 * 3 + 52];
                patch[51] = input[top_1 * 24 + left_1 * 3 + 53];
                patch[52] = input[top_1 * 24 + left_1 * 3 + 54];
                patch[53] = input[top_1 * 24 + left_1 * 3 + 55];
                patch[54] = input[top_1 * 24 + left_1 * 3 + 56];
            } else {
                for (int32_t ky_1 = 0; ky_1 < 3; ky_1++) {
                    const int32_t iy_1 = oy * 2 + ky_1;
                    for (int32_t kx_1 = 0; kx_1 < 3; kx_1++) {
                        const int32_t ix_1 = ox * 2 + kx_1 + 2;
                        if (iy_1 < 8 && ix_1 < 8) {
                            for (int32_t i_1 = 0; i_1 < 3; i_1++) {
                                patch[ky_1 * 9 + kx_1 * 3 + i_1 + 28] = input[iy_1 * 24 + ix_1 * 3 + i_1];
                            }
                        } else {
                            for (int32_t i_1 = 0; i_1 < 3; i_1++) {
                                patch[ky_1 * 9 + kx_1 * 3 + i_1 + 28] = -26;
                            }
                        }
                    }
                }
            }
            int32_t sums[8];
            const int32_t start_0 = conv2d_0_bias[0];
            const int32_t start_1 = conv2d_0_bias[1];
            const int32_t start_2 = conv2d_0_bias[2];
            const int32_t start_3 = conv2d_0_bias[3];
            sums[0] = start_0;
            sums[1] = start_1;
            sums[2] = start_2;
            sums[3] = start_3;
            sums[4] = start_0;
            sums[5] = start_1;
            sums[6] = start_2;
            sums[7] = start_3;
#if defined(__thumb2__)
            nn_kernel_dd0381(sums, &patch[0], &conv2d_0_weights[0], &patch[28]);
#else
            for (int32_t k = 0; k < 28; k++) {
                const int32_t x_0 = patch[k];
                const int32_t x_1 = patch[k + 28];
                const int32_t w_0 = conv2d_0_weights[k * 4];
                sums[0] += w_0 * x_0;
                sums[4] += w_0 * x_1;
                const int32_t w_1 = conv2d_0_weights[k * 4 + 1];
                sums[1] += w_1 * x_0;
                sums[5] += w_1 * x_1;
                const int32_t w_2 = conv2d_0_weights[k * 4 + 2];
                sums[2] += w_2 * x_0;
                sums[6] += w_2 * x_1;
                const int32_t w_3 = conv2d_0_weights[k * 4 + 3];
                sums[3] += w_3 * x_0;
                sums[7] += w_3 * x_1;
            }
#endif
            const int32_t shift_0 = conv2d_0_shift[0];
            const int32_t addend_0 = 0 - (1 << (shift_0 - 1)) * 33;
            const int32_t multiplier_0 = conv2d_0_multiplier[0];
            const int32_t sum_0_0 = sums[0] + sums[0];
            output[oy * 16 + ox * 4] =
                nn_saturate_i8(nn_high_add_rounded(sum_0_0, multiplier_0, addend_0 + (sum_0_0 >> 31)) >> shift_0);
            const int32_t sum_1_0 = sums[4] + sums[4];
            output[oy * 16 + ox * 4 + 4] =
                nn_saturate_i8(nn_high_add_rounded(sum_1_0, multiplier_0, addend_0 + (sum_1_0 >> 31)) >> shift_0);
            const int32_t shift_1 = conv2d_0_shift[1];
            const int32_t addend_1 = 0 - (1 << (shift_1 - 1)) * 33;
            const int32_t multiplier_1 = conv2d_0_multiplier[1];
            const int32_t sum_0_1 = sums[1] + sums[1];
            output[oy * 16 + ox * 4 + 1] =
                nn_saturate_i8(nn_high_add_rounded(sum_0_1, multiplier_1, addend_1 + (sum_0_1 >> 31)) >> shift_1);
            const int32_t sum_1_1 = sums[5] + sums[5];
            output[oy * 16 + ox * 4 + 5] =
                nn_saturate_i8(nn_high_add_rounded(sum_1_1, multiplier_1, addend_1 + (sum_1_1 >> 31)) >> shift_1);
            const int32_t shift_2 = conv2d_0_shift[2];
            const int32_t addend_2 = 0 - (1 << (shift_2 - 1)) * 33;
            const int32_t multiplier_2 = conv2d_0_multiplier[2];
            const int32_t sum_0_2 = sums[2] + sums[2];
            output[oy * 16 + ox * 4 + 2] =
                nn_saturate_i8(nn_high_add_rounded(sum_0_2, multiplier_2, addend_2 + (sum_0_2 >> 31)) >> shift_2);
            const int32_t sum_1_2 = sums[6] + sums[6];
            output[oy * 16 + ox * 4 + 6] =
                nn_saturate_i8(nn_high_add_rounded(sum_1_2, multiplier_2, addend_2 + (sum_1_2 >> 31)) >> shift_2);
            const int32_t shift_3 = conv2d_0_shift[3];
            const int32_t addend_3 = 0 - (1 << (shift_3 - 1)) * 33;
            const int32_t multiplier_3 = conv2d_0_multiplier[3];
            const int32_t sum_0_3 = sums[3] + sums[3];
            output[oy * 16 + ox * 4 + 3] =
                nn_saturate_i8(nn_high_add_rounded(sum_0_3, multiplier_3, addend_3 + (sum_0_3 >> 31)) >> shift_3);
            const int32_t sum_1_3 = sums[7] + sums[7];
            output[oy * 16 + ox * 4 + 7] =
                nn_saturate_i8(nn_high_add_rounded(sum_1_3, multiplier_3, addend_3 + (sum_1_3 >> 31)) >> shift_3);
        }
    }
}
