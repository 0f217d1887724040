/* CMSDK APB UART of Arm's MPS2 and MPS3 boards (Cortex-M System Design Kit TRM, 4.3). */
#include "board.h"
#include "interrupt.h"
#include "register.h"
#include "uart.h"

#if !defined(UART_CLOCK_HZ) || !defined(UART_BAUD) || !defined(UART_INTERRUPT)
#error "uart.options of the board must give clock_hz, baud and interrupt: the first of receiver's and transmitter's"
#endif

#define DATA    REGISTER(UART_ADDRESS + 0x00u)
#define STATE   REGISTER(UART_ADDRESS + 0x04u)
#define CTRL    REGISTER(UART_ADDRESS + 0x08u)
#define INTCLR  REGISTER(UART_ADDRESS + 0x0Cu)
#define BAUDDIV REGISTER(UART_ADDRESS + 0x10u) /* at least 16 */

#define STATE_TX_FULL  (1u << 0)
#define STATE_RX_FULL  (1u << 1)
#define CTRL_TX_ENABLE (1u << 0)
#define CTRL_RX_ENABLE (1u << 1)
#define CTRL_RX_INT    (1u << 3)
#define INTCLR_RX      (1u << 1)

void uart_start(void)
{
    BAUDDIV = UART_CLOCK_HZ / UART_BAUD;
    CTRL = CTRL_TX_ENABLE | CTRL_RX_ENABLE | CTRL_RX_INT;
}

uint8_t uart_read(void)
{
    while (!(STATE & STATE_RX_FULL)) {
        interrupt_wait(UART_INTERRUPT);
    }
    INTCLR = INTCLR_RX; /* before reading: the next byte sets it again */
    return (uint8_t)DATA;
}

void uart_write(uint8_t byte)
{
    while (STATE & STATE_TX_FULL) {
    }
    DATA = byte;
}

void uart_flush(void)
{
    /* One byte may still be in the shift register; it leaves by itself. */
    while (STATE & STATE_TX_FULL) {
    }
}
