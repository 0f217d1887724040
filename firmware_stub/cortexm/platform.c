#include "platform.h"

#include <errno.h>

#include "core.h"
#include "scb.h"

/* Of an ELF note: three words of head, then the name "GNU". */
#define NOTE_HEAD_BYTES 16u

extern const uint8_t harness_build_id_note[];

uint32_t platform_cycles(void)
{
    return core_cycles();
}

void platform_reset(void)
{
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = AIRCR_KEY | AIRCR_SYSRESETREQ;
    __asm volatile("dsb" ::: "memory");
    for (;;) {
    }
}

const uint8_t *platform_build_id(void)
{
    return harness_build_id_note + NOTE_HEAD_BYTES;
}

uint32_t platform_stack_bottom(void)
{
    return (uint32_t)harness_stack_bottom;
}

uint32_t platform_stack_top(void)
{
    return (uint32_t)harness_stack_top;
}

/* libm reports range errors here. Its own errno would bring a kilobyte of newlib's state with it. */
int *__errno(void);
int *__errno(void)
{
    static int number;
    return &number;
}
