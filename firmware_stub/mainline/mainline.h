/* What Armv7-M and Armv8-M with the main extension have in common. */
#ifndef MAINLINE_H
#define MAINLINE_H

#include "core.h"

/* Enables the fault handlers, traps on division by zero, the FPU and the cycle counter. */
void mainline_start(void);

#endif
