/* USART of the STM32F4 series (RM0390, chapter 25), clocked by the internal oscillator that runs after reset. */
#include "board.h"
#include "interrupt.h"
#include "register.h"
#include "uart.h"

#if !defined(UART_CLOCK_HZ) || !defined(UART_BAUD) || !defined(UART_INTERRUPT)
#error "uart.options of the board must give clock_hz, baud and interrupt"
#endif
#if !defined(UART_CLOCK_REGISTER) || !defined(UART_CLOCK_BIT)
#error "uart.options of the board must give clock_register and clock_bit: what switches the USART's clock on"
#endif
#if !defined(UART_PORT) || !defined(UART_PORT_BIT) || !defined(UART_TX_PIN) || !defined(UART_RX_PIN) ||                \
    !defined(UART_ALTERNATE)
#error "uart.options of the board must give port, port_bit, tx_pin, rx_pin and alternate: the pins and their function"
#endif

#define RCC_AHB1ENR REGISTER(0x40023830u) /* RM0390, 6.3.10 */

#define GPIO_MODER    REGISTER(UART_PORT + 0x00u)
#define GPIO_AFR(pin) REGISTER(UART_PORT + 0x20u + 4u * ((pin) / 8u))
#define MODE_FUNCTION 2u

#define SR  REGISTER(UART_ADDRESS + 0x00u)
#define DR  REGISTER(UART_ADDRESS + 0x04u)
#define BRR REGISTER(UART_ADDRESS + 0x08u)
#define CR1 REGISTER(UART_ADDRESS + 0x0Cu)

#define SR_RXNE    (1u << 5)
#define SR_TC      (1u << 6)
#define SR_TXE     (1u << 7)
#define CR1_RE     (1u << 2)
#define CR1_TE     (1u << 3)
#define CR1_RXNEIE (1u << 5)
#define CR1_UE     (1u << 13)

static void connect_pin(uint32_t pin)
{
    uint32_t place = 4u * (pin % 8u);
    GPIO_AFR(pin) = (GPIO_AFR(pin) & ~(15u << place)) | (UART_ALTERNATE << place);
    GPIO_MODER = (GPIO_MODER & ~(3u << (2u * pin))) | (MODE_FUNCTION << (2u * pin));
}

void uart_start(void)
{
    RCC_AHB1ENR |= 1u << UART_PORT_BIT;
    REGISTER(UART_CLOCK_REGISTER) |= 1u << UART_CLOCK_BIT;
    (void)REGISTER(UART_CLOCK_REGISTER); /* the clock takes two cycles to arrive */
    connect_pin(UART_TX_PIN);
    connect_pin(UART_RX_PIN);
    BRR = (UART_CLOCK_HZ + UART_BAUD / 2u) / UART_BAUD; /* sixteenths of the divider: oversampling by 16 */
    CR1 = CR1_UE | CR1_RXNEIE | CR1_TE | CR1_RE;
}

uint8_t uart_read(void)
{
    while (!(SR & SR_RXNE)) {
        interrupt_wait(UART_INTERRUPT);
    }
    return (uint8_t)DR; /* reading SR, then DR also clears an overrun */
}

void uart_write(uint8_t byte)
{
    while (!(SR & SR_TXE)) {
    }
    DR = byte;
}

void uart_flush(void)
{
    while (!(SR & SR_TC)) {
    }
}
