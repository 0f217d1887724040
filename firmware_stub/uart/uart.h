/* The UART that carries the RPC; one driver a kind, named by the board's TOML. 8 data bits, no parity, polled. */
#ifndef UART_H
#define UART_H

#include <stdint.h>

void uart_start(void);

/* Waits for the next byte. */
uint8_t uart_read(void);

/* Waits until the transmitter takes `byte`. */
void uart_write(uint8_t byte);

/* Waits until all that was written has left. */
void uart_flush(void);

#endif
