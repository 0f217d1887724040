#include "interrupt.h"

#include "register.h"

#define NVIC_ISER(word) REGISTER(0xE000E100u + 4u * (word))
#define NVIC_ICER(word) REGISTER(0xE000E180u + 4u * (word))
#define NVIC_ICPR(word) REGISTER(0xE000E280u + 4u * (word))

static void set_enabled(uint32_t number, int enabled)
{
    uint32_t bit = 1u << (number % 32u);
    if (enabled) {
        NVIC_ISER(number / 32u) = bit;
    } else {
        NVIC_ICER(number / 32u) = bit;
        NVIC_ICPR(number / 32u) = bit;
    }
}

void interrupt_wait(uint32_t number)
{
    /* An interrupt that PRIMASK holds back still ends the sleep. Outside it stays disabled: a model must not be cut
     * short. */
    uint32_t masked;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(masked)::"memory");
    set_enabled(number, 1);
    set_enabled(number + 1u, 1);
    __asm volatile("dsb\n\twfi" ::: "memory");
    set_enabled(number, 0);
    set_enabled(number + 1u, 0);
    /* After a crash interrupts stay off. */
    __asm volatile("dsb\n\tisb\n\tmsr primask, %0" ::"r"(masked) : "memory");
}
