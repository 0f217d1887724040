#include "core.h"

extern uint32_t harness_data_start[], harness_data_end[], harness_bss_start[], harness_bss_end[];
extern const uint32_t harness_data_load[];

int main(void);

void core_reset_handler(void)
{
    core_start();
    const uint32_t *from = harness_data_load;
    for (uint32_t *to = harness_data_start; to < harness_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = harness_bss_start; to < harness_bss_end; to++) {
        *to = 0;
    }
    main();
    __builtin_unreachable();
}
