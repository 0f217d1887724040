#include "model_glue.h"
#include "rpc.h"
#include "uart.h"

int main(void)
{
    model_start();
    uart_start();
    rpc_start();
    rpc_serve(false);
}
