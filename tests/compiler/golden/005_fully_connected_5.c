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

static const int32_t bias_folded[5] = {
    -4541, -5800, -187, 2400, 2582,
};

void fully_connected_5(const int8_t *restrict input, int8_t *restrict output)
{
    int32_t acc_0 = bias_folded[0];
    int32_t acc_1 = bias_folded[1];
    int32_t acc_2 = bias_folded[2];
    int32_t acc_3 = bias_folded[3];
    const int32_t x_0 = input[0];
    acc_0 += x_0 * fully_connected_5_weights[0];
    acc_1 += x_0 * fully_connected_5_weights[4];
    acc_2 += x_0 * fully_connected_5_weights[8];
    acc_3 += x_0 * fully_connected_5_weights[12];
    const int32_t x_1 = input[1];
    acc_0 += x_1 * fully_connected_5_weights[1];
    acc_1 += x_1 * fully_connected_5_weights[5];
    acc_2 += x_1 * fully_connected_5_weights[9];
    acc_3 += x_1 * fully_connected_5_weights[13];
    const int32_t x_2 = input[2];
    acc_0 += x_2 * fully_connected_5_weights[2];
    acc_1 += x_2 * fully_connected_5_weights[6];
    acc_2 += x_2 * fully_connected_5_weights[10];
    acc_3 += x_2 * fully_connected_5_weights[14];
    const int32_t x_3 = input[3];
    acc_0 += x_3 * fully_connected_5_weights[3];
    acc_1 += x_3 * fully_connected_5_weights[7];
    acc_2 += x_3 * fully_connected_5_weights[11];
    acc_3 += x_3 * fully_connected_5_weights[15];
    output[0] = nn_saturate_i8(nn_requantise(acc_0, 1945801534, 7) + 8);
    output[1] = nn_saturate_i8(nn_requantise(acc_1, 1945801534, 7) + 8);
    output[2] = nn_saturate_i8(nn_requantise(acc_2, 1945801534, 7) + 8);
    output[3] = nn_saturate_i8(nn_requantise(acc_3, 1945801534, 7) + 8);
    int32_t acc_4 = bias_folded[4];
    acc_4 += x_0 * fully_connected_5_weights[16];
    acc_4 += x_1 * fully_connected_5_weights[17];
    acc_4 += x_2 * fully_connected_5_weights[18];
    acc_4 += x_3 * fully_connected_5_weights[19];
    output[4] = nn_saturate_i8(nn_requantise(acc_4, 1945801534, 7) + 8);
}
