/* Layer 3: MAX_POOL_2D, operator 3 of the model; 0 MACs.
 *
 * in    int8[1, 4, 4, 4] scale 0.0636832565 zero point 12 "add_2"
 * out   int8[1, 2, 2, 4] scale 0.0636832565 zero point 12 "max_pool_2d_3"
 */
#include "layers.h"
#include "../nn_math.h"

void max_pool_3(const int8_t *restrict input, int8_t *restrict output)
{
    for (int32_t oy = 0; oy < 2; oy++) {
        for (int32_t ox = 0; ox < 2; ox++) {
            int32_t largest_0 = -128;
            int32_t largest_1 = -128;
            int32_t largest_2 = -128;
            int32_t largest_3 = -128;
            for (int32_t ky = 0; ky < 2; ky++) {
                for (int32_t kx = 0; kx < 2; kx++) {
                    largest_0 = nn_max_i32(largest_0, input[oy * 32 + ky * 16 + ox * 8 + kx * 4]);
                    largest_1 = nn_max_i32(largest_1, input[oy * 32 + ky * 16 + ox * 8 + kx * 4 + 1]);
                    largest_2 = nn_max_i32(largest_2, input[oy * 32 + ky * 16 + ox * 8 + kx * 4 + 2]);
                    largest_3 = nn_max_i32(largest_3, input[oy * 32 + ky * 16 + ox * 8 + kx * 4 + 3]);
                }
            }
            output[oy * 8 + ox * 4] = (int8_t)largest_0;
            output[oy * 8 + ox * 4 + 1] = (int8_t)largest_1;
            output[oy * 8 + ox * 4 + 2] = (int8_t)largest_2;
            output[oy * 8 + ox * 4 + 3] = (int8_t)largest_3;
        }
    }
}
