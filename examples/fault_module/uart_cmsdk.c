/* CMSDK APB UART of Arm's MPS2 and MPS3 boards. */
#include "uart.h"

#include <stdint.h>

#define REGISTER(offset) (*(volatile uint32_t *)(UART_ADDRESS + (offset)))
#define DATA             REGISTER(0x00u)
#define STATE            REGISTER(0x04u)
#define CTRL             REGISTER(0x08u)
#define BAUDDIV          REGISTER(0x10u)

void uart_start(void)
{
    BAUDDIV = 25000000u / 115200u;
    CTRL = 3u;  /* both directions */
    (void)DATA; /* what came before a reset; an emulator delivers nothing until it is gone */
}

char uart_read(void)
{
    while (!(STATE & 2u)) {
    }
    return (char)DATA;
}

void uart_write(char character)
{
    while (STATE & 1u) {
    }
    DATA = (uint8_t)character;
}
