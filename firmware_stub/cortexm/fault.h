#ifndef FAULT_H
#define FAULT_H

#include <stdint.h>

/* What fault_entry.S pushes, in this order of addresses; it loads the first four again when it leaves. */
struct fault_entry {
    uint32_t msp;
    uint32_t psp;
    uint32_t msplim; /* Armv8-M */
    uint32_t exc_return;
    uint32_t r4_r11[8];
};

/* Called in handler mode on the fault stack. Changes `entry` to where the processor is to continue. */
void fault_taken(struct fault_entry *entry);

/* The code of platform_copy that may fault, and where it continues then. */
extern const uint8_t fault_probe_start[], fault_probe_end[], fault_probe_failed[];

#endif
