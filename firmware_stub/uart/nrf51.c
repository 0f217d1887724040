/* UART of Nordic's nRF51 series (nRF51 Series Reference Manual 3.0, chapter 28). */
#include "board.h"
#include "interrupt.h"
#include "register.h"
#include "uart.h"

#if !defined(UART_TX_PIN) || !defined(UART_RX_PIN) || !defined(UART_BAUD_REGISTER) || !defined(UART_INTERRUPT)
#error "uart.options of the board must give tx_pin, rx_pin, baud_register and interrupt"
#endif

#define TASKS_STARTRX REGISTER(UART_ADDRESS + 0x000u)
#define TASKS_STARTTX REGISTER(UART_ADDRESS + 0x008u)
#define EVENTS_RXDRDY REGISTER(UART_ADDRESS + 0x108u)
#define EVENTS_TXDRDY REGISTER(UART_ADDRESS + 0x11Cu)
#define INTENSET      REGISTER(UART_ADDRESS + 0x304u)
#define ENABLE        REGISTER(UART_ADDRESS + 0x500u)
#define PSELTXD       REGISTER(UART_ADDRESS + 0x50Cu)
#define PSELRXD       REGISTER(UART_ADDRESS + 0x514u)
#define RXD           REGISTER(UART_ADDRESS + 0x518u)
#define TXD           REGISTER(UART_ADDRESS + 0x51Cu)
#define BAUDRATE      REGISTER(UART_ADDRESS + 0x524u)

#define ENABLE_UART     4u
#define INTENSET_RXDRDY (1u << 2)

/* The pin is driven high before the UART takes it over, so that the line idles as it should. */
#define GPIO_OUTSET REGISTER(0x50000508u)
#define GPIO_DIRSET REGISTER(0x50000518u)

void uart_start(void)
{
    GPIO_OUTSET = 1u << UART_TX_PIN;
    GPIO_DIRSET = 1u << UART_TX_PIN;
    PSELTXD = UART_TX_PIN;
    PSELRXD = UART_RX_PIN;
    BAUDRATE = UART_BAUD_REGISTER;
    ENABLE = ENABLE_UART;
    EVENTS_RXDRDY = 0;
    EVENTS_TXDRDY = 0;
    INTENSET = INTENSET_RXDRDY;
    TASKS_STARTTX = 1;
    TASKS_STARTRX = 1;
}

uint8_t uart_read(void)
{
    while (EVENTS_RXDRDY == 0) {
        interrupt_wait(UART_INTERRUPT);
    }
    EVENTS_RXDRDY = 0; /* before reading: the next byte sets it again */
    return (uint8_t)RXD;
}

void uart_write(uint8_t byte)
{
    TXD = byte;
    while (EVENTS_TXDRDY == 0) {
    }
    EVENTS_TXDRDY = 0;
}

void uart_flush(void)
{
    /* uart_write returns when the byte has left. */
}
