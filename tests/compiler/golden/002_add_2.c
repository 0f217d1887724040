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
    for (int32_t i = 0; i < 64; i += 4) {
        output[i] = nn_saturate_i8_asr_23(input[i] * 6878837 - 15164706 + input_1[i] * 7102176);
        output[i + 1] = nn_saturate_i8_asr_23(input[i + 1] * 6878837 - 15164706 + input_1[i + 1] * 7102176);
        output[i + 2] = nn_saturate_i8_asr_23(input[i + 2] * 6878837 - 15164706 + input_1[i + 2] * 7102176);
        output[i + 3] = nn_saturate_i8_asr_23(input[i + 3] * 6878837 - 15164706 + input_1[i + 3] * 7102176);
    }
}
