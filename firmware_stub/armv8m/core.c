/* Armv8-M with the main extension: stack limit and MPU (Armv8-M manual, B10). */
#include "board.h"
#include "mainline.h"
#include "scb.h"

#define MPU_RLAR  REGISTER(0xE000EDA0u)
#define MPU_MAIR0 REGISTER(0xE000EDC0u)

#define RBAR_XN         (1u << 0)
#define RBAR_READ_WRITE (1u << 1)
#define RLAR_ENABLE     (1u << 0)
#define RLAR_ADDRESS    0xFFFFFFE0u
#define MAIR_NORMAL     0xFFu /* attribute 0: write-back, write and read allocate */

/* The two halves of the address map that hold RAM; nothing there is code. */
#define SRAM_BASE 0x20000000u
#define SRAM_LAST 0x3FFFFFFFu

/* No attribute forbids privileged access, but an address that two regions cover faults. */
enum region { NO_CODE_IN_RAM, NULL_GUARD, NULL_GUARD_AGAIN, REGIONS };

static void set_region(enum region number, uint32_t base, uint32_t last)
{
    MPU_RNR = number;
    MPU_RBAR = base | RBAR_READ_WRITE | RBAR_XN;
    MPU_RLAR = (last & RLAR_ADDRESS) | RLAR_ENABLE;
}

void core_start(void)
{
    __asm volatile("msr msplim, %0" ::"r"(harness_stack_bottom));
    mainline_start();
    if (MPU_TYPE_REGIONS(MPU_TYPE) < REGIONS) {
        return;
    }
    MPU_MAIR0 = MAIR_NORMAL;
    set_region(NO_CODE_IN_RAM, SRAM_BASE, SRAM_LAST);
    set_region(NULL_GUARD, 0, NULL_GUARD_BYTES - 1u);
    set_region(NULL_GUARD_AGAIN, 0, NULL_GUARD_BYTES - 1u);
    MPU_CTRL = MPU_CTRL_ENABLE | MPU_CTRL_PRIVDEFENA;
    __asm volatile("dsb\n\tisb" ::: "memory");
}
