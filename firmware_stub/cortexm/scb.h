/* System control registers (Armv7-M manual B3.2, Armv8-M manual D1.2) that the stub sets. Armv6-M has AIRCR only. */
#ifndef SCB_H
#define SCB_H

#include "register.h"

#define SCB_VTOR  REGISTER(0xE000ED08u)
#define SCB_AIRCR REGISTER(0xE000ED0Cu)
#define SCB_CCR   REGISTER(0xE000ED14u)
#define SCB_CPACR REGISTER(0xE000ED88u)

#define AIRCR_KEY         (0x05FAu << 16)
#define AIRCR_SYSRESETREQ (1u << 2)

#define CCR_STKALIGN (1u << 9)

#define CPACR_FPU (0xFu << 20) /* CP10 and CP11: full access; also switches MVE on */

#define DWT_CTRL           REGISTER(0xE0001000u)
#define DWT_CYCCNT         REGISTER(0xE0001004u)
#define DWT_LAR            REGISTER(0xE0001FB0u)
#define DWT_CTRL_CYCCNTENA (1u << 0)
#define DWT_LAR_KEY        0xC5ACCE55u
#define DCB_DEMCR          REGISTER(0xE000EDFCu)
#define DEMCR_TRCENA       (1u << 24)

#endif
