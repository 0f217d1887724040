/* What the RPC server needs of the machine beside the UART; see cortexm/ and host/. */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc_messages.h"

/*
 * Copies memory of which nobody knows whether it is there; in words where both addresses and the length are multiples
 * of 4, otherwise in bytes. false: an access faulted, what comes before it was copied.
 */
bool platform_copy(void *to, const void *from, uint32_t bytes);

/* Cycles of the core since some moment, modulo 2^32. Always 0 where the core does not count them. */
uint32_t platform_cycles(void);

_Noreturn void platform_reset(void);

/* The 20 bytes of the ELF's build ID. */
const uint8_t *platform_build_id(void);

/* The stack that the model runs on; both 0 where it is not known. */
uint32_t platform_stack_bottom(void);
uint32_t platform_stack_top(void);

/*
 * Bytes of the stack, below the caller's frame, that were written between the two calls; 0 where that is not known.
 * Both are called from one function. Words that happen to be written with the paint itself are not seen.
 */
void platform_stack_paint(void);
uint32_t platform_stack_used(void);

/* The fault record that is kept; its length is 0 when there is none. */
struct rpc_bytes platform_record(void);
void platform_record_clear(void);

#endif
