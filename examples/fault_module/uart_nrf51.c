/* UART of Nordic's nRF51, on the pins of the micro:bit. */
#include "uart.h"

#include <stdint.h>

#define REGISTER(offset) (*(volatile uint32_t *)(UART_ADDRESS + (offset)))
#define TASKS_STARTRX    REGISTER(0x000u)
#define TASKS_STARTTX    REGISTER(0x008u)
#define EVENTS_RXDRDY    REGISTER(0x108u)
#define EVENTS_TXDRDY    REGISTER(0x11Cu)
#define ENABLE           REGISTER(0x500u)
#define PSELTXD          REGISTER(0x50Cu)
#define PSELRXD          REGISTER(0x514u)
#define RXD              REGISTER(0x518u)
#define TXD              REGISTER(0x51Cu)
#define BAUDRATE         REGISTER(0x524u)

void uart_start(void)
{
    PSELTXD = 24u;
    PSELRXD = 25u;
    BAUDRATE = 0x01D7E000u; /* 115200 */
    ENABLE = 4u;
    TASKS_STARTTX = 1u;
    TASKS_STARTRX = 1u;
    (void)RXD; /* what came before a reset; an emulator delivers nothing until it is gone */
}

char uart_read(void)
{
    while (EVENTS_RXDRDY == 0u) {
    }
    EVENTS_RXDRDY = 0u;
    return (char)RXD;
}

void uart_write(char character)
{
    TXD = (uint8_t)character;
    while (EVENTS_TXDRDY == 0u) {
    }
    EVENTS_TXDRDY = 0u;
}
