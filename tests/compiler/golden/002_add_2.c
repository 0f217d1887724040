/* Layer 2: ADD, operator 2 of the model; 0 MACs.
 *
 * in    int8[1, 4, 4, 4] scale 0.0522216484 zero point 35 "depthwise_conv_2d_1"
 * in    int8[1, 4, 4, 4] scale 0.05391711 zero point -17 "conv_2d_0"
 * out   int8[1, 4, 4, 4] scale 0.0636832565 zero point 12 "add_2"
 */
#include "layers.h"
#include "../nn_math.h"

void add_2(const int8_t *restrict input, const int8_t *restrict input_1, int8_t *restrict output)
{
    for (int32_t i = 0; i < 64; i += 2) {
        const int32_t a_0 = nn_rescale((input[i] - 35) * 1048576, 2079954509, 1, 0);
        const int32_t a_1 = nn_rescale((input[i + 1] - 35) * 1048576, 2079954509, 1, 0);
        const int32_t b_0 = nn_high_mul_short((input_1[i] + 17) * 1048576, 1073741824);
        const int32_t b_1 = nn_high_mul_short((input_1[i + 1] + 17) * 1048576, 1073741824);
        output[i] = nn_saturate_i8(nn_rescale(a_0 + b_0, 1818156268, 19, 0) + 12);
        output[i + 1] = nn_saturate_i8(nn_rescale(a_1 + b_1, 1818156268, 19, 0) + 12);
    }
}
