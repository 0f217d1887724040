/* Armv7-M: the MPU (Armv7-M manual, B3.5). */
#include "board.h"
#include "mainline.h"
#include "scb.h"

#define MPU_RASR REGISTER(0xE000EDA0u)

#define RASR_ENABLE     (1u << 0)
#define RASR_SIZE(log2) (((log2) - 1u) << 1)
#define RASR_NORMAL     ((1u << 19) | (1u << 17) | (1u << 16)) /* write-back, write and read allocate */
#define RASR_NO_ACCESS  (0u << 24)
#define RASR_READ_WRITE (3u << 24)
#define RASR_XN         (1u << 28)

#define LOG2(power) ((uint32_t)__builtin_ctz(power))

#define SRAM_BASE       0x20000000u /* of the address map; nothing there is code */
#define SRAM_LOG2_BYTES 29u

/* Where regions overlap the one with the highest number decides. */
enum region { NO_CODE_IN_RAM, NULL_GUARD, STACK_GUARD, REGIONS };

static void set_region(enum region number, uint32_t base, uint32_t attributes)
{
    MPU_RNR = number;
    MPU_RBAR = base;
    MPU_RASR = attributes | RASR_ENABLE;
}

void core_start(void)
{
    mainline_start();
    if (MPU_TYPE_REGIONS(MPU_TYPE) < REGIONS) {
        return;
    }
    set_region(NO_CODE_IN_RAM, SRAM_BASE, RASR_SIZE(SRAM_LOG2_BYTES) | RASR_NORMAL | RASR_READ_WRITE | RASR_XN);
    set_region(NULL_GUARD, 0, RASR_SIZE(LOG2(NULL_GUARD_BYTES)) | RASR_NO_ACCESS | RASR_XN);
    set_region(STACK_GUARD, (uint32_t)harness_stack_guard,
               RASR_SIZE(LOG2(STACK_GUARD_BYTES)) | RASR_NO_ACCESS | RASR_XN);
    MPU_CTRL = MPU_CTRL_ENABLE | MPU_CTRL_PRIVDEFENA;
    __asm volatile("dsb\n\tisb" ::: "memory");
}
