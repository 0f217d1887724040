/* Layer 0: CONV_2D, operator 0 of the model; 1728 MACs.
 *
 * in    int8[1, 8, 8, 3] scale 0.0234259665 zero point -26 "input"
 * const int8[4, 3, 3, 3] scales 0.00290676183 .. 0.00534182275 along dimension 0 "weights_1"
 * const int32[4] scales 6.80937083e-05 .. 0.000125137361 along dimension 0 "bias_2"
 * out   int8[1, 4, 4, 4] scale 0.05391711 zero point -17 "conv_2d_0"
 */
#include "layers.h"
#include "../nn_math.h"
#include "../nn_kernels.h"
#include "../weights.h"

void conv2d_0(const int8_t *restrict input, int8_t *restrict output)
{
    for (int32_t oy = 0; oy < 4; oy++) {
        _Alignas(4) int8_t patch[112];
        patch[27] = 0;
        patch[55] = 0;
        patch[83] = 0;
        patch[111] = 0;
        const int32_t top_0 = oy * 2;
        if (top_0 + 2 < 8) {
            patch[0] = input[top_0 * 24];
            patch[1] = input[top_0 * 24 + 1];
            patch[2] = input[top_0 * 24 + 2];
            patch[3] = input[top_0 * 24 + 3];
            patch[4] = input[top_0 * 24 + 4];
            patch[5] = input[top_0 * 24 + 5];
            patch[6] = input[top_0 * 24 + 6];
            patch[7] = input[top_0 * 24 + 7];
            patch[8] = input[top_0 * 24 + 8];
            patch[9] = input[top_0 * 24 + 24];
            patch[10] = input[top_0 * 24 + 25];
            patch[11] = input[top_0 * 24 + 26];
            patch[12] = input[top_0 * 24 + 27];
            patch[13] = input[top_0 * 24 + 28];
            patch[14] = input[top_0 * 24 + 29];
            patch[15] = input[top_0 * 24 + 30];
            patch[16] = input[top_0 * 24 + 31];
            patch[17] = input[top_0 * 24 + 32];
            patch[18] = input[top_0 * 24 + 48];
            patch[19] = input[top_0 * 24 + 49];
            patch[20] = input[top_0 * 24 + 50];
            patch[21] = input[top_0 * 24 + 51];
            patch[22] = input[top_0 * 24 + 52];
            patch[23] = input[top_0 * 24 + 53];
            patch[24] = input[top_0 * 24 + 54];
            patch[25] = input[top_0 * 24 + 55];
            patch[26] = input[top_0 * 24 + 56];
        } else {
            for (int32_t ky_0 = 0; ky_0 < 3; ky_0++) {
                const int32_t iy_0 = oy * 2 + ky_0;
                for (int32_t kx_0 = 0; kx_0 < 3; kx_0++) {
                    const int32_t ix_0 = kx_0;
                    if (iy_0 < 8) {
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
        if (top_1 + 2 < 8) {
            patch[28] = input[top_1 * 24 + 6];
            patch[29] = input[top_1 * 24 + 7];
            patch[30] = input[top_1 * 24 + 8];
            patch[31] = input[top_1 * 24 + 9];
            patch[32] = input[top_1 * 24 + 10];
            patch[33] = input[top_1 * 24 + 11];
            patch[34] = input[top_1 * 24 + 12];
            patch[35] = input[top_1 * 24 + 13];
            patch[36] = input[top_1 * 24 + 14];
            patch[37] = input[top_1 * 24 + 30];
            patch[38] = input[top_1 * 24 + 31];
            patch[39] = input[top_1 * 24 + 32];
            patch[40] = input[top_1 * 24 + 33];
            patch[41] = input[top_1 * 24 + 34];
            patch[42] = input[top_1 * 24 + 35];
            patch[43] = input[top_1 * 24 + 36];
            patch[44] = input[top_1 * 24 + 37];
            patch[45] = input[top_1 * 24 + 38];
            patch[46] = input[top_1 * 24 + 54];
            patch[47] = input[top_1 * 24 + 55];
            patch[48] = input[top_1 * 24 + 56];
            patch[49] = input[top_1 * 24 + 57];
            patch[50] = input[top_1 * 24 + 58];
            patch[51] = input[top_1 * 24 + 59];
            patch[52] = input[top_1 * 24 + 60];
            patch[53] = input[top_1 * 24 + 61];
            patch[54] = input[top_1 * 24 + 62];
        } else {
            for (int32_t ky_1 = 0; ky_1 < 3; ky_1++) {
                const int32_t iy_1 = oy * 2 + ky_1;
                for (int32_t kx_1 = 0; kx_1 < 3; kx_1++) {
                    const int32_t ix_1 = kx_1 + 2;
                    if (iy_1 < 8) {
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
        const int32_t top_2 = oy * 2;
        if (top_2 + 2 < 8) {
            patch[56] = input[top_2 * 24 + 12];
            patch[57] = input[top_2 * 24 + 13];
            patch[58] = input[top_2 * 24 + 14];
            patch[59] = input[top_2 * 24 + 15];
            patch[60] = input[top_2 * 24 + 16];
            patch[61] = input[top_2 * 24 + 17];
            patch[62] = input[top_2 * 24 + 18];
            patch[63] = input[top_2 * 24 + 19];
            patch[64] = input[top_2 * 24 + 20];
            patch[65] = input[top_2 * 24 + 36];
            patch[66] = input[top_2 * 24 + 37];
            patch[67] = input[top_2 * 24 + 38];
            patch[68] = input[top_2 * 24 + 39];
            patch[69] = input[top_2 * 24 + 40];
            patch[70] = input[top_2 * 24 + 41];
            patch[71] = input[top_2 * 24 + 42];
            patch[72] = input[top_2 * 24 + 43];
            patch[73] = input[top_2 * 24 + 44];
            patch[74] = input[top_2 * 24 + 60];
            patch[75] = input[top_2 * 24 + 61];
            patch[76] = input[top_2 * 24 + 62];
            patch[77] = input[top_2 * 24 + 63];
            patch[78] = input[top_2 * 24 + 64];
            patch[79] = input[top_2 * 24 + 65];
            patch[80] = input[top_2 * 24 + 66];
            patch[81] = input[top_2 * 24 + 67];
            patch[82] = input[top_2 * 24 + 68];
        } else {
            for (int32_t ky_2 = 0; ky_2 < 3; ky_2++) {
                const int32_t iy_2 = oy * 2 + ky_2;
                for (int32_t kx_2 = 0; kx_2 < 3; kx_2++) {
                    const int32_t ix_2 = kx_2 + 4;
                    if (iy_2 < 8) {
                        for (int32_t i_2 = 0; i_2 < 3; i_2++) {
                            patch[ky_2 * 9 + kx_2 * 3 + i_2 + 56] = input[iy_2 * 24 + ix_2 * 3 + i_2];
                        }
                    } else {
                        for (int32_t i_2 = 0; i_2 < 3; i_2++) {
                            patch[ky_2 * 9 + kx_2 * 3 + i_2 + 56] = -26;
                        }
                    }
                }
            }
        }
        for (int32_t ky_3 = 0; ky_3 < 3; ky_3++) {
            const int32_t iy_3 = oy * 2 + ky_3;
            for (int32_t kx_3 = 0; kx_3 < 3; kx_3++) {
                const int32_t ix_3 = kx_3 + 6;
                if (iy_3 < 8 && ix_3 < 8) {
                    for (int32_t i_3 = 0; i_3 < 3; i_3++) {
                        patch[ky_3 * 9 + kx_3 * 3 + i_3 + 84] = input[iy_3 * 24 + ix_3 * 3 + i_3];
                    }
                } else {
                    for (int32_t i_3 = 0; i_3 < 3; i_3++) {
                        patch[ky_3 * 9 + kx_3 * 3 + i_3 + 84] = -26;
                    }
                }
            }
        }
        for (int32_t g = 0; g < 2; g++) {
            int32_t sums[8];
            const int32_t start_0 = conv2d_0_bias[g * 2];
            const int32_t start_1 = conv2d_0_bias[g * 2 + 1];
            sums[0] = start_0;
            sums[1] = start_1;
            sums[2] = start_0;
            sums[3] = start_1;
            sums[4] = start_0;
            sums[5] = start_1;
            sums[6] = start_0;
            sums[7] = start_1;
#if defined(__thumb2__)
            nn_kernel_5668fa(sums, &conv2d_0_weights[g * 56], &patch[0], &conv2d_0_weights[g * 56 + 56]);
#else
            for (int32_t k = 0; k < 28; k++) {
                const int32_t w_0 = conv2d_0_weights[g * 56 + k * 2];
                const int32_t w_1 = conv2d_0_weights[g * 56 + k * 2 + 1];
                const int32_t x_0 = patch[k];
                sums[0] += x_0 * w_0;
                sums[1] += x_0 * w_1;
                const int32_t x_1 = patch[k + 28];
                sums[2] += x_1 * w_0;
                sums[3] += x_1 * w_1;
                const int32_t x_2 = patch[k + 56];
                sums[4] += x_2 * w_0;
                sums[5] += x_2 * w_1;
                const int32_t x_3 = patch[k + 84];
                sums[6] += x_3 * w_0;
                sums[7] += x_3 * w_1;
            }
#endif
            const int32_t shift_0 = conv2d_0_shift[g * 2];
            const int32_t addend_0 = 0 - (1 << (shift_0 - 1)) * 33;
            const int32_t multiplier_0 = conv2d_0_multiplier[g * 2];
            const int32_t sum_0_0 = sums[0] + sums[0];
            output[oy * 16 + g * 2] =
                nn_saturate_i8(nn_high_add_rounded(sum_0_0, multiplier_0, addend_0 + (sum_0_0 >> 31)) >> shift_0);
            const int32_t sum_1_0 = sums[2] + sums[2];
            output[oy * 16 + g * 2 + 4] =
                nn_saturate_i8(nn_high_add_rounded(sum_1_0, multiplier_0, addend_0 + (sum_1_0 >> 31)) >> shift_0);
            const int32_t sum_2_0 = sums[4] + sums[4];
            output[oy * 16 + g * 2 + 8] =
                nn_saturate_i8(nn_high_add_rounded(sum_2_0, multiplier_0, addend_0 + (sum_2_0 >> 31)) >> shift_0);
            const int32_t sum_3_0 = sums[6] + sums[6];
            output[oy * 16 + g * 2 + 12] =
                nn_saturate_i8(nn_high_add_rounded(sum_3_0, multiplier_0, addend_0 + (sum_3_0 >> 31)) >> shift_0);
            const int32_t shift_1 = conv2d_0_shift[g * 2 + 1];
            const int32_t addend_1 = 0 - (1 << (shift_1 - 1)) * 33;
            const int32_t multiplier_1 = conv2d_0_multiplier[g * 2 + 1];
            const int32_t sum_0_1 = sums[1] + sums[1];
            output[oy * 16 + g * 2 + 1] =
                nn_saturate_i8(nn_high_add_rounded(sum_0_1, multiplier_1, addend_1 + (sum_0_1 >> 31)) >> shift_1);
            const int32_t sum_1_1 = sums[3] + sums[3];
            output[oy * 16 + g * 2 + 5] =
                nn_saturate_i8(nn_high_add_rounded(sum_1_1, multiplier_1, addend_1 + (sum_1_1 >> 31)) >> shift_1);
            const int32_t sum_2_1 = sums[5] + sums[5];
            output[oy * 16 + g * 2 + 9] =
                nn_saturate_i8(nn_high_add_rounded(sum_2_1, multiplier_1, addend_1 + (sum_2_1 >> 31)) >> shift_1);
            const int32_t sum_3_1 = sums[7] + sums[7];
            output[oy * 16 + g * 2 + 13] =
                nn_saturate_i8(nn_high_add_rounded(sum_3_1, multiplier_1, addend_1 + (sum_3_1 >> 31)) >> shift_1);
        }
    }
}
