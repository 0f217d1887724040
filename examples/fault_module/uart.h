#ifndef UART_H
#define UART_H

void uart_start(void);
char uart_read(void);
void uart_write(char character);

#endif
