/* Standard input and output of a native program. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "uart.h"

#define BUFFER_BYTES 4096u

static struct {
    uint8_t bytes[BUFFER_BYTES];
    size_t length;
    size_t at;
} in, out;

void uart_start(void) {}

uint8_t uart_read(void)
{
    if (in.at == in.length) {
        ssize_t got;
        do {
            got = read(STDIN_FILENO, in.bytes, sizeof in.bytes);
        } while (got < 0 && errno == EINTR);
        if (got <= 0) {
            exit(EXIT_SUCCESS); /* the harness closed its end */
        }
        in.length = (size_t)got;
        in.at = 0;
    }
    return in.bytes[in.at++];
}

void uart_write(uint8_t byte)
{
    out.bytes[out.length++] = byte;
    if (out.length == sizeof out.bytes) {
        uart_flush();
    }
}

void uart_flush(void)
{
    out.at = 0;
    while (out.at < out.length) {
        ssize_t sent = write(STDOUT_FILENO, out.bytes + out.at, out.length - out.at);
        if (sent < 0 && errno != EINTR) {
            exit(EXIT_FAILURE);
        }
        out.at += sent > 0 ? (size_t)sent : 0;
    }
    out.length = 0;
}
