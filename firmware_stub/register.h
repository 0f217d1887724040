#ifndef REGISTER_H
#define REGISTER_H

#include <stdint.h>

/* A 32-bit register at a fixed address. */
#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#endif
