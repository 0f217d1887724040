/* The RPC server: takes requests from the UART one after the other and answers each. */
#ifndef RPC_H
#define RPC_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc_messages.h"

/* Tells that the firmware started. */
void rpc_start(void);

/* Answers requests for ever; after a crash only those that a dead model can answer. */
_Noreturn void rpc_serve(bool crashed);

/* Whether the firmware crashed and was not reset since. */
bool rpc_crashed(void);

/* Sends an event that belongs to the request being worked on. `fixed` is its struct of `bytes` bytes. */
void rpc_event(enum rpc_type type, const void *fixed, uint32_t bytes, struct rpc_bytes tail);

/* RPC_MAX_PAYLOAD bytes, aligned to 4, for the tail of an answer. The request is gone once they are written. */
uint8_t *rpc_scratch(void);

/* Calls `action` once the answer is out. */
void rpc_after_answer(void (*action)(void));

#endif
