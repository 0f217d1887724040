#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <stdint.h>

/*
 * Sleeps until one of the two interrupts `number` and `number` + 1 is pending, or for another reason; the caller looks
 * again at what it waits for. The interrupt is not taken: the stub has no handlers. What caused it is to be cleared in
 * the peripheral by the caller.
 *
 * A core that sleeps instead of polling leaves an emulator's host its time, and its lock to deliver the byte waited
 * for.
 */
void interrupt_wait(uint32_t number);

#endif
